import type { Kernel } from './lib/kernel.ts';

/** x of one stage becomes that of all. */
export const broadcast: Kernel<'broadcast'> = (op, { x }, { pipeline }) => {
  return sizes => pipeline.broadcast(x.data.subarray(0, x.rows(sizes) * x.width), op.fromStage);
};
