import type { Checkpoint, CheckpointTensor } from './types.ts';

/** All bytes of a tensor, in a buffer of their own. */
export async function tensorBytes(checkpoint: Checkpoint, tensor: CheckpointTensor): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(tensor.end - tensor.start);
  let at = 0;
  for await (const chunk of checkpoint.stream(tensor)) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
