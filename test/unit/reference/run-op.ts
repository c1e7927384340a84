import type { Device, DType, Op, Program, StepSizes, TypedArray } from '@quire/core/contract';
import { decodeFloats, encodeFloats, noSizes, ProgramBuilder } from '@quire/core/program';
import { openReferenceDevice } from '@quire/core/reference';

export { noSizes };

/** A tensor with its contents: words for u32, values (rounded to the dtype here) for the others. */
export interface TestTensor {
  dtype: DType;
  shape: readonly number[];
  data?: ArrayLike<number>;
}

export const u32 = (shape: number[], data?: ArrayLike<number>): TestTensor => ({
  dtype: 'u32',
  shape,
  ...(data && { data }),
});
export const f32 = (shape: number[], data?: ArrayLike<number>): TestTensor => ({
  dtype: 'f32',
  shape,
  ...(data && { data }),
});

export function rawData({ dtype, data }: { dtype: DType; data: ArrayLike<number> }): TypedArray {
  return dtype === 'u32' ? Uint32Array.from(data) : encodeFloats(dtype, Float32Array.from(data));
}

export function bits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

export interface Session {
  device: Device;
  program: Program;
  run(sizes?: Partial<StepSizes>, times?: number): Promise<void>;
  read(name: string): Promise<number[]>;
}

/** Ops on external tensors of fixed shape, on a reference device of their own. */
export async function openSession(
  ops: readonly Op[],
  tensors: Readonly<Record<string, TestTensor>>,
  maxSizes: Partial<StepSizes> = {},
): Promise<Session> {
  const device = await openReferenceDevice();
  const builder = new ProgramBuilder('test', { ...noSizes, ...maxSizes });
  const bindings = Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape, data }]) => {
      builder.external(name, dtype, shape);
      const tensor = device.createTensor({ name, dtype, shape, usage: 'state' });
      if (data !== undefined) device.write(tensor, rawData({ dtype, data }));
      return [name, tensor];
    }),
  );
  for (const op of ops) builder.add(op);
  const program = builder.build();
  const executable = await device.compile(program, bindings);
  return {
    device,
    program,
    async run(sizes = {}, times = 1) {
      device.submit([{ executable, sizes: { ...program.maxSizes, ...sizes } }], times);
      await device.synchronize();
    },
    async read(name) {
      const tensor = bindings[name]!;
      const { dtype, shape } = tensor.spec;
      const elements = shape.reduce((count, dim) => count * dim, 1);
      const raw =
        dtype === 'f32'
          ? new Float32Array(elements)
          : dtype === 'u32'
            ? new Uint32Array(elements)
            : new Uint16Array(elements);
      await device.read(tensor, 0, raw);
      return Array.from(dtype === 'u32' ? raw : decodeFloats(dtype, raw));
    },
  };
}

/** Runs ops once and reads back the tensors that are named. */
export async function runOps<Name extends string>(
  ops: readonly Op[],
  tensors: Readonly<Record<string, TestTensor>>,
  outputs: readonly Name[],
  maxSizes: Partial<StepSizes> = {},
): Promise<Record<Name, number[]>> {
  const session = await openSession(ops, tensors, maxSizes);
  await session.run();
  const read = await Promise.all(outputs.map(async name => [name, await session.read(name)] as const));
  await session.device.dispose();
  return Object.fromEntries(read) as Record<Name, number[]>;
}
