import {
  type Bindings,
  type CompileOptions,
  type Device,
  DeviceError,
  type DeviceInfo,
  DeviceLostError,
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
import { programOfStage } from '../../program/index.ts';

/** One value per device, by stage and rank; null where a stage has none. */
type Grid<T> = readonly (readonly T[] | null)[];

/**
 * Devices that work on one model together, as one Device. All get the same writes and submits in the same order. The ranks of a
 * stage run the same programs on their parts of the weights; the stages of a pipeline run their parts of each program. What every
 * device holds is read from the last stage, which samples; ranks of a stage come to the same results, so rank 0 is asked.
 */
export class DeviceGroup implements Device {
  readonly info: DeviceInfo;
  readonly lost: Promise<DeviceLostError>;
  readonly #stages: readonly (readonly Device[])[];
  readonly #end: (reason: string) => void;
  #failure: DeviceLostError | undefined;

  /** `end` releases devices that wait for one another; called when one is lost, and before dispose, with the reason. */
  constructor(stages: readonly (readonly Device[])[], end: (reason: string) => void) {
    const first = stages[0]?.[0];
    if (first === undefined) throw new DeviceError('device group: found no devices, expected 1 or more.');
    this.#stages = stages;
    this.#end = end;
    const ranks = stages[0]!.length;
    const { memory: _, ...own } = first.info;
    const name = `${stages.length * ranks} x ${first.info.name}`;
    this.info = {
      ...own,
      ranks,
      stages: stages.length,
      name,
      get memory() {
        return leastMemory(stages.flat());
      },
    };
    const fills = stages.flat().some(device => device.fill !== undefined);
    if (fills) this.fill = (tensor, rank) => this.#fill(tensor, rank);
    if (stages.flat().every(device => device.uploadFiles !== undefined || device.fill !== undefined)) {
      this.uploadFiles = async (tensor, pieces, rank = 0) => {
        const stage = this.#stageOf(tensor);
        await this.#settled(stages[stage]![rank]!.uploadFiles!(ownParts(tensor)[stage]![rank]!, pieces));
      };
    }
    this.lost = Promise.race(
      stages.flatMap((row, stage) =>
        row.map((device, rank) => device.lost.then(error => this.#lose(error, stage, rank))),
      ),
    );
  }

  /** The first loss is the group's: later ones follow from it. */
  #lose(error: DeviceLostError, stage: number, rank: number): DeviceLostError {
    if (this.#failure !== undefined) return this.#failure;
    const place = this.#stages.length === 1 ? `Rank ${rank}` : `Rank ${rank} of stage ${stage}`;
    this.#failure = new DeviceLostError(`${place} of the group failed: ${error.message}`, error.op, { cause: error });
    this.#end(this.#failure.message);
    return this.#failure;
  }

  /** Once one is lost, whatever fails failed because of it. */
  async #settled<T>(promise: Promise<T>): Promise<T> {
    try {
      return await promise;
    } catch (error) {
      throw (error instanceof DeviceLostError && this.#failure) || error;
    }
  }

  createTensor(spec: TensorSpec): DeviceTensor {
    return new GroupTensor(
      spec,
      this.#stages.map((ranks, stage) => {
        return (spec.stage ?? stage) === stage ? ranks.map(device => device.createTensor(spec)) : null;
      }),
    );
  }

  write(tensor: DeviceTensor, data: TypedArray, offset = 0, only?: number): void {
    // One copy for all, where they can share memory.
    const shared = sharedCopy(data);
    this.#stages.forEach((ranks, stage) => {
      ownParts(tensor)[stage]?.forEach((part, rank) => {
        if (rank === (only ?? rank)) ranks[rank]!.write(part, shared, offset);
      });
    });
  }

  async upload(tensor: DeviceTensor, chunks: AsyncIterable<Uint8Array>, rank = 0): Promise<void> {
    const stage = this.#stageOf(tensor);
    await this.#settled(this.#stages[stage]![rank]!.upload(ownParts(tensor)[stage]![rank]!, chunks));
  }

  /** Absent where the devices have none. */
  readonly uploadFiles?: NonNullable<Device['uploadFiles']>;
  /** Absent where no rank has files of its own. */
  readonly fill?: NonNullable<Device['fill']>;

  #fill(tensor: DeviceTensor, rank: number): Promise<void> | null {
    const stage = this.#stageOf(tensor);
    const filling = this.#stages[stage]![rank]!.fill?.(ownParts(tensor)[stage]![rank]!, 0) ?? null;
    return filling && this.#settled(filling);
  }

  async read(tensor: DeviceTensor, offset: number, into: TypedArray): Promise<void> {
    const stage = this.#stageOf(tensor);
    await this.#settled(this.#stages[stage]![0]!.read(ownParts(tensor)[stage]![0]!, offset, into));
  }

  async compile(program: Program, bindings: Bindings, options?: CompileOptions): Promise<Executable> {
    const isPipeline = this.#stages.length > 1;
    const compiled = await settleAll(
      this.#stages.map((ranks, stage) => {
        const own = isPipeline ? programOfStage(program, stage) : program;
        return settleAll(
          ranks.map((device, rank) => device.compile(own, bindingsOf(own, bindings, stage, rank), options)),
        );
      }),
    );
    return new GroupExecutable(program, compiled);
  }

  submit(steps: readonly SubmitStep[], times?: number): void {
    this.#stages.forEach((ranks, stage) => {
      ranks.forEach((device, rank) => {
        const own = steps.map(({ executable, sizes }) => {
          return { executable: (executable as GroupExecutable).parts[stage]![rank]!, sizes };
        });
        device.submit(own, times);
      });
    });
  }

  async tune(executables: readonly Executable[]): Promise<void> {
    await this.#settled(
      settleAll(this.#eachPlace((device, stage, rank) => device.tune?.(partsOf(executables, stage, rank)))),
    );
  }

  async capture(steps: readonly Executable[]): Promise<void> {
    await this.#settled(
      settleAll(this.#eachPlace((device, stage, rank) => device.capture?.(partsOf(steps, stage, rank)))),
    );
  }

  async transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    await this.#settled(settleAll(this.#all().map(device => device.transfer(blocks, hostSlots, direction))));
  }

  async synchronize(): Promise<void> {
    await this.#settled(settleAll(this.#all().map(device => device.synchronize())));
  }

  /** Of all devices together. */
  allocatedBytes(): number {
    return this.#all().reduce((sum, device) => sum + device.allocatedBytes(), 0);
  }

  async dispose(): Promise<void> {
    this.#end('The group of devices was disposed. Open a new one.');
    await settleAll(this.#all().map(device => device.dispose()));
  }

  #eachPlace<T>(
    call: (device: Device, stage: number, rank: number) => Promise<T> | undefined,
  ): Promise<T | undefined>[] {
    return this.#stages.flatMap((row, stage) => row.map(async (device, rank) => call(device, stage, rank)));
  }

  #all(): Device[] {
    return this.#stages.flat();
  }

  /** Where a tensor is read, and where it is uploaded to. */
  #stageOf(tensor: DeviceTensor): number {
    return tensor.spec.stage ?? this.#stages.length - 1;
  }
}

/** One tensor on each rank of every stage that holds it. */
class GroupTensor implements DeviceTensor {
  readonly spec: TensorSpec;
  /** On each rank. */
  readonly bytes: number;
  readonly parts: Grid<DeviceTensor>;

  constructor(spec: TensorSpec, parts: Grid<DeviceTensor>) {
    const held = parts.find(ranks => ranks !== null)?.[0];
    if (held === undefined) {
      const found = `stage ${spec.stage}`;
      throw new DeviceError(`tensor ${spec.name}: found ${found}, expected 0 .. ${parts.length - 1}.`);
    }
    this.spec = spec;
    this.bytes = held.bytes;
    this.parts = parts;
  }

  dispose(): void {
    for (const ranks of this.parts) for (const part of ranks ?? []) part.dispose();
  }
}

/** One program, or its part, on each device. Counts and times are those of rank 0 of the last stage. */
class GroupExecutable implements Executable {
  readonly program: Program;
  readonly parts: readonly (readonly Executable[])[];

  constructor(program: Program, parts: readonly (readonly Executable[])[]) {
    this.program = program;
    this.parts = parts;
  }

  tensor(name: TensorName): DeviceTensor {
    const grid = this.parts.map(ranks => {
      return Object.hasOwn(ranks[0]!.program.tensors, name) ? ranks.map(part => part.tensor(name)) : null;
    });
    const stage = grid.findLastIndex(ranks => ranks !== null);
    const tensor = stage < 0 ? this.parts.at(-1)![0]!.tensor(name) : grid[stage]![0]!;
    return new GroupTensor({ ...tensor.spec, stage }, grid);
  }

  async profile(sizes: StepSizes): Promise<OpTiming[]> {
    const timings = await settleAll(this.parts.flat().map(part => part.profile(sizes)));
    return timings.at(-this.parts[0]!.length)!;
  }

  opCounts(): Partial<Record<OpName, number>> {
    return this.parts.at(-1)![0]!.opCounts();
  }

  dispose(): void {
    for (const part of this.parts.flat()) part.dispose();
  }
}

function bindingsOf(program: Program, bindings: Bindings, stage: number, rank: number): Bindings {
  const names = Object.keys(program.tensors).filter(name => Object.hasOwn(bindings, name));
  return Object.fromEntries(
    names.map(name => {
      const part = ownParts(bindings[name]!)[stage]?.[rank];
      if (part !== undefined) return [name, part];
      throw new DeviceError(`tensor ${name}: found none on stage ${stage}, whose program ${program.name} uses it.`);
    }),
  );
}

function partsOf(executables: readonly Executable[], stage: number, rank: number): Executable[] {
  return executables.map(executable => (executable as GroupExecutable).parts[stage]![rank]!);
}

/** The device with the least of it decides what fits. null where one of them does not tell. */
function leastMemory(devices: readonly Device[]): DeviceInfo['memory'] {
  const memories = devices.map(device => device.info.memory).filter(memory => memory !== null);
  if (memories.length < devices.length) return null;
  return memories.reduce((least, memory) => (memory.free < least.free ? memory : least));
}

function ownParts(tensor: DeviceTensor): Grid<DeviceTensor> {
  if (tensor instanceof GroupTensor) return tensor.parts;
  throw new DeviceError(`tensor ${tensor.spec.name}: found one of another device, expected one of this group.`);
}

/** Waits for all, also when one fails: a device that is still at work must not be taken by surprise. */
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
