import {
  type Bindings,
  type CompileOptions,
  type Device,
  DeviceError,
  type DeviceInfo,
  type DeviceLostError,
  type DeviceTensor,
  type Executable,
  type OpName,
  type OpTiming,
  type Program,
  type StepSizes,
  type SubmitStep,
  type TensorName,
  type TensorSpec,
  type TypedArray,
} from '../../contract/contract.ts';

/**
 * Devices that work on one model together, as one Device: every rank gets the same programs, writes and submits in the same
 * order, and its own part of the weights. What is read is read from rank 0, since all ranks come to the same results.
 */
export class DeviceGroup implements Device {
  readonly info: DeviceInfo;
  readonly lost: Promise<DeviceLostError>;
  readonly #ranks: readonly Device[];
  readonly #end: () => void;

  /** `end` releases ranks that wait for one another; called when one is lost, and before dispose. */
  constructor(ranks: readonly Device[], end: () => void) {
    const [first] = ranks;
    if (first === undefined) throw new DeviceError('device group: found no ranks, expected 1 or more.');
    this.#ranks = ranks;
    this.#end = end;
    this.info = { ...first.info, ranks: ranks.length, name: `${ranks.length} ranks of ${first.info.name}` };
    this.lost = Promise.race(ranks.map(rank => rank.lost));
    void this.lost.then(end);
  }

  createTensor(spec: TensorSpec): DeviceTensor {
    return new GroupTensor(this.#all(rank => rank.createTensor(spec)));
  }

  write(tensor: DeviceTensor, data: TypedArray, offset = 0): void {
    const parts = partsOf(tensor);
    // One copy for all ranks, where they can share memory.
    const shared = sharedCopy(data);
    this.#ranks.forEach((rank, i) => {
      rank.write(parts[i]!, shared, offset);
    });
  }

  async upload(tensor: DeviceTensor, chunks: AsyncIterable<Uint8Array>, rank = 0): Promise<void> {
    await this.#ranks[rank]!.upload(partsOf(tensor)[rank]!, chunks);
  }

  async read(tensor: DeviceTensor, offset: number, into: TypedArray): Promise<void> {
    await this.#ranks[0]!.read(partsOf(tensor)[0]!, offset, into);
  }

  async compile(program: Program, bindings: Bindings, options?: CompileOptions): Promise<Executable> {
    const executables = await settleAll(
      this.#all((rank, i) => {
        const own = Object.entries(bindings).map(([name, tensor]) => [name, partsOf(tensor)[i]!]);
        return rank.compile(program, Object.fromEntries(own), options);
      }),
    );
    return new GroupExecutable(executables);
  }

  submit(steps: readonly SubmitStep[], times?: number): void {
    this.#ranks.forEach((rank, i) => {
      rank.submit(
        steps.map(({ executable, sizes }) => ({ executable: (executable as GroupExecutable).parts[i]!, sizes })),
        times,
      );
    });
  }

  async transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    await settleAll(this.#all(rank => rank.transfer(blocks, hostSlots, direction)));
  }

  async synchronize(): Promise<void> {
    await settleAll(this.#all(rank => rank.synchronize()));
  }

  /** Of all ranks together. */
  allocatedBytes(): number {
    return this.#all(rank => rank.allocatedBytes()).reduce((sum, bytes) => sum + bytes, 0);
  }

  async dispose(): Promise<void> {
    this.#end();
    await settleAll(this.#all(rank => rank.dispose()));
  }

  #all<T>(run: (rank: Device, index: number) => T): T[] {
    return this.#ranks.map(run);
  }
}

/** One tensor on each rank. */
class GroupTensor implements DeviceTensor {
  readonly spec: TensorSpec;
  /** On each rank. */
  readonly bytes: number;
  readonly parts: readonly DeviceTensor[];

  constructor(parts: readonly DeviceTensor[]) {
    this.parts = parts;
    this.spec = parts[0]!.spec;
    this.bytes = parts[0]!.bytes;
  }

  dispose(): void {
    for (const part of this.parts) part.dispose();
  }
}

/** One program on each rank. Counts and times are those of rank 0. */
class GroupExecutable implements Executable {
  readonly program: Program;
  readonly parts: readonly Executable[];

  constructor(parts: readonly Executable[]) {
    this.parts = parts;
    this.program = parts[0]!.program;
  }

  tensor(name: TensorName): DeviceTensor {
    return new GroupTensor(this.parts.map(part => part.tensor(name)));
  }

  async profile(sizes: StepSizes): Promise<OpTiming[]> {
    const [first] = await settleAll(this.parts.map(part => part.profile(sizes)));
    return first!;
  }

  opCounts(): Partial<Record<OpName, number>> {
    return this.parts[0]!.opCounts();
  }

  dispose(): void {
    for (const part of this.parts) part.dispose();
  }
}

function partsOf(tensor: DeviceTensor): readonly DeviceTensor[] {
  if (tensor instanceof GroupTensor) return tensor.parts;
  throw new DeviceError(`tensor ${tensor.spec.name}: found one of another device, expected one of this group.`);
}

/** Waits for all, also when one fails: a rank that is still at work must not be taken by surprise. */
async function settleAll<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

function sharedCopy(data: TypedArray): TypedArray {
  const copy = new SharedArrayBuffer(data.byteLength);
  new Uint8Array(copy).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const Elements = data.constructor as new (buffer: ArrayBufferLike) => TypedArray;
  return new Elements(copy);
}
