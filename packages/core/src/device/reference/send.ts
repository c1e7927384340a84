import { type Kernel, scratch32 } from './lib/kernel.ts';

/** Hands x to another stage. */
export const send: Kernel<'send'> = (op, { x }, { pipeline }) => {
  const values = scratch32();
  return sizes => {
    const elements = x.rows(sizes) * x.width;
    const data = values.take(elements).subarray(0, elements);
    x.loadF32(0, elements, data, 0);
    pipeline.send(data, op.toStage);
  };
};
