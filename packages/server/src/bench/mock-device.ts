import {
  type Device,
  DeviceLostError,
  type DeviceTensor,
  dtypeBytes,
  type Executable,
  type Program,
  SAMPLE_FINITE,
  SAMPLE_LIVE,
  type TensorSpec,
  type TypedArray,
} from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';

/** Sampled by every row in every step. */
const TOKEN = 7;

/**
 * A device that computes nothing and answers at once: what is left of a step is the engine's own time. It offers what the
 * reference device offers, and keeps no contents.
 */
export async function openMockDevice(): Promise<Device> {
  const reference = await openReferenceDevice();
  const { info } = reference;
  await reference.dispose();
  let allocated = 0;
  const createTensor = (spec: TensorSpec): DeviceTensor => {
    const bytes = spec.shape.reduce((product, size) => product * size, dtypeBytes[spec.dtype]);
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
    read: async (tensor, _, into) => sampleRing(tensor, into),
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
function sampleRing({ spec }: DeviceTensor, into: TypedArray): void {
  if (spec.name !== 'ring') return;
  for (let i = 0; i < into.length; i += 2) {
    into[i] = TOKEN;
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
