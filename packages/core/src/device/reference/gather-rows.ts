import type { Kernel } from './lib/kernel.ts';
import { SampleReader } from './lib/samples.ts';

/** out[i] = x[samples[i].token] */
export const gatherRows: Kernel<'gatherRows'> = (_, { x, samples, out }) => {
  const { width } = out;
  const row = new Float64Array(width);
  const sample = new SampleReader(samples);
  return sizes => {
    const [count, tokens] = [out.rows(sizes), x.rows(sizes)];
    for (let i = 0; i < count; i++) {
      sample.select(i);
      if (sample.token >= tokens) throw new RangeError(`sample ${i} is of token ${sample.token}, x has ${tokens}`);
      x.load(sample.token * width, width, row);
      out.store(i * width, width, row);
    }
  };
};
