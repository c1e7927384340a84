/** The large linear layers of a program, and how one is run by itself to be timed. */
import type { OpOf, Program } from '@quire/core/contract';
import { noSizes, ProgramBuilder } from '@quire/core/program';
import { type CompileHost, compileProgram } from './compile.ts';
import { WebGpuExecutable } from './executable.ts';
import type { LinearLayer, LinearWay } from './kernel.ts';
import { type DeviceMemory, specBytes, TENSOR_USAGE, WebGpuTensor } from './memory.ts';
import type { StepEncoder } from './queue.ts';
import type { LayerRun } from './tuning.ts';

/** Weights below which a launch takes longer than any product. */
const FEWEST_WEIGHTS = 2 ** 20;
/** Of more weights than this, the columns to begin with are timed: enough to fill a GPU. */
const MOST_WEIGHTS = 2 ** 21;
const MOST_ROWS = 16;

export interface MeasuredLayer extends LinearLayer {
  /** The name of its weight in the program. */
  readonly weight: string;
}

function linearLayer(op: OpOf<'linear'> | OpOf<'gatedLinear'>, program: Pick<Program, 'tensors'>): LinearLayer {
  const { dtype, shape } = program.tensors[op.weight]!;
  const [rows, depth] = shape as [number, number];
  return { op: op.op, dtype, columns: op.op === 'linear' ? rows : rows / 2, depth };
}

/** One layer of each shape that is worth timing, those that a program has most of first. */
export function largeLayers(program: Program): MeasuredLayer[] {
  const found = new Map<string, { layer: MeasuredLayer; count: number }>();
  for (const op of program.ops) {
    if (op.op !== 'linear' && op.op !== 'gatedLinear') continue;
    const layer = linearLayer(op, program);
    if (layer.columns * layer.depth < FEWEST_WEIGHTS || layer.depth % 4 !== 0) continue;
    const key = JSON.stringify(layer);
    const entry = found.get(key) ?? { layer: { ...layer, weight: op.weight }, count: 0 };
    found.set(key, { ...entry, count: entry.count + 1 });
  }
  return [...found.values()].sort((a, b) => b.count - a.count).map(({ layer }) => layer);
}

/** Compiles a layer alone, in one way, with its weight as it lies on the device. */
export async function openLayerRun(
  host: CompileHost,
  steps: StepEncoder,
  { op, dtype, columns, depth }: LinearLayer,
  weight: WebGpuTensor,
  way: LinearWay,
): Promise<LayerRun> {
  const timed = Math.min(columns, Math.ceil(MOST_WEIGHTS / depth));
  const builder = new ProgramBuilder('timed layer', { ...noSizes, tokens: MOST_ROWS });
  builder.external('weight', dtype, [op === 'linear' ? timed : 2 * timed, depth]);
  builder.external('x', 'f32', ['tokens', depth]);
  builder.external('out', 'f32', ['tokens', timed]);
  const layer = { x: 'x', weight: 'weight', out: 'out', activation: 'none' } as const;
  builder.add(op === 'linear' ? { op, ...layer, outColumn: 0 } : { op, ...layer });
  const [x, out] = [activations(host.memory, 'x', depth), activations(host.memory, 'out', timed)];
  const free = () => {
    x.dispose();
    out.dispose();
  };
  try {
    const own = { ...host, tuning: { ...host.tuning, linear: () => way } };
    const parts = await compileProgram(own, builder.build(), { weight, x, out }, {});
    // Nobody profiles it, and its variants are not those that an output came from.
    const executable = new WebGpuExecutable(parts, {
      memory: host.memory,
      profile: () => Promise.resolve([]),
      dispatched: () => {},
    });
    return {
      run: async (tokens, times) => {
        steps.submit([{ executable, sizes: { ...noSizes, tokens } }], times);
        await host.device.queue.onSubmittedWorkDone();
      },
      end: () => {
        executable.dispose();
        free();
      },
    };
  } catch (error) {
    free();
    throw error;
  }
}

function activations(memory: DeviceMemory, name: string, width: number): WebGpuTensor {
  const spec = { name, dtype: 'f32', shape: [MOST_ROWS, width], usage: 'state' } as const;
  const buffer = memory.allocate(`timed layer ${name}`, specBytes(spec), TENSOR_USAGE);
  return new WebGpuTensor(memory, spec, buffer, 0, () => memory.free(buffer));
}
