import { type Kernel, scratch32, scratch64 } from './lib/kernel.ts';

/** out = what another stage sends; f32 holds every dtype exactly. */
export const recv: Kernel<'recv'> = (op, { out }, { pipeline }) => {
  const [values, wide] = [scratch32(), scratch64()];
  return sizes => {
    const elements = out.rows(sizes) * out.width;
    const data = values.take(elements).subarray(0, elements);
    pipeline.recv(data, op.fromStage);
    const received = wide.take(elements);
    received.set(data);
    out.store(0, elements, received);
  };
};
