import type { Checkpoint, CheckpointTensor } from './types.ts';

/** All bytes of a tensor, in a buffer of their own. */
export async function tensorBytes(checkpoint: Checkpoint, tensor: CheckpointTensor): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(tensor.end - tensor.start);
  await readTensor(checkpoint, tensor, bytes);
  return bytes;
}

/** Reads a tensor to memory of its length, without another copy where the checkpoint can. */
export async function readTensor(checkpoint: Checkpoint, tensor: CheckpointTensor, into: Uint8Array): Promise<void> {
  let at = 0;
  for await (const chunk of checkpoint.stream(tensor, undefined, into)) {
    if (chunk.buffer !== into.buffer) into.set(chunk, at);
    at += chunk.length;
  }
}
