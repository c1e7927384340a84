import {
  type Device,
  DeviceLostError,
  type DeviceTensor,
  type Executable,
  type Program,
  SAMPLE_FINITE,
  SAMPLE_LIVE,
  shapeBytes,
  type TensorSpec,
  type TypedArray,
} from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';

/** Sampled by every row in every step. */
const TOKEN = 7;
/** With `counting`: the first of the ids that are sampled in turn, and how many they are. */
export const COUNTED = { first: 100, count: 800 };

/**
 * A device that computes nothing and answers at once: what is left of a step is the engine's own time. It offers what the
 * reference device offers, and keeps no contents. `counting`: all rows of a step sample one id, those of the next step the next one, so
 * that a token that is lost, doubled or out of place shows. `stepMs`: what each step takes, one after the other, as on a GPU.
 */
export async function openMockDevice({ counting = false, stepMs = 0 } = {}): Promise<Device> {
  const reference = await openReferenceDevice();
  const { info } = reference;
  await reference.dispose();
  let allocated = 0;
  let steps = 0;
  let due = 0;
  /** A step is read when it is submitted. It begins when the one before it is over: a late timer makes no later step late. */
  const endOfStep = () => {
    due = Math.max(due, performance.now()) + stepMs;
    return new Promise(resolve => setTimeout(resolve, due - performance.now()));
  };
  const nextToken = () => (counting ? COUNTED.first + (steps++ % COUNTED.count) : TOKEN);
  const createTensor = (spec: TensorSpec): DeviceTensor => {
    const bytes = shapeBytes(spec.dtype, spec.shape);
    allocated += bytes;
    const dispose = () => {
      allocated -= bytes;
    };
    return { spec, bytes, dispose };
  };
  return {
    info: { ...info, kind: 'mock', name: 'computes nothing', limits: { maxTensorBytes: 2 ** 40 } },
    createTensor,
    write: () => {},
    upload: drain,
    read: async (tensor, _, into) => {
      if (stepMs > 0 && tensor.spec.name === 'ring') await endOfStep();
      sampleRing(tensor, into, nextToken);
    },
    compile: async program => mockExecutable(program),
    submit: () => {},
    transfer: async () => {},
    synchronize: async () => {},
    allocatedBytes: () => allocated,
    lost: new Promise<DeviceLostError>(() => {}),
    dispose: async () => {},
  };
}

async function drain(_: DeviceTensor, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _chunk of chunks);
}

/** The ring holds (token id, flags) of each row; everything else is zero. */
function sampleRing({ spec }: DeviceTensor, into: TypedArray, nextToken: () => number): void {
  if (spec.name !== 'ring') return;
  const token = nextToken();
  for (let i = 0; i < into.length; i += 2) {
    into[i] = token;
    into[i + 1] = SAMPLE_LIVE | SAMPLE_FINITE;
  }
}

function mockExecutable(program: Program): Executable {
  return {
    program,
    tensor: name => {
      throw new DeviceLostError(`The mock device keeps no contents, so there is no tensor ${name}.`);
    },
    profile: async () => [],
    opCounts: () => ({}),
    dispose: () => {},
  };
}
