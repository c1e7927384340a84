import { type Device, dtypeBytes, type FloatDType, isQuantDType, quantDTypes, shapeBytes } from '@quire/core/contract';
import { dequantize, quantizeRows } from '@quire/core/program';
import { openReferenceDevice } from '@quire/core/reference';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LoadedWeights, loadWeights } from '../../../packages/core/src/models/index.ts';
import { isQuantised } from '../../../packages/core/src/models/quantization.ts';
import { llamaConfig } from './configs.ts';
import { completeTensors, type FakeTensor, fakeCheckpoint } from './fake-checkpoint.ts';

let device: Device;
beforeEach(async () => {
  device = await openReferenceDevice();
});
afterEach(async () => {
  expect(device.allocatedBytes()).toBe(0);
  await device.dispose();
});

const config = llamaConfig({
  hiddenSize: 128,
  intermediateSize: 256,
  headDim: 32,
  attentionBias: true,
  tieWordEmbeddings: false,
});

async function readWords({ tensors }: LoadedWeights, name: string): Promise<Uint32Array> {
  const words = new Uint32Array(tensors[name]!.bytes / 4);
  await device.read(tensors[name]!, 0, words);
  return words;
}

function rows(tensors: Record<string, FakeTensor>, names: readonly string[]): Float32Array {
  return Float32Array.from(names.flatMap(name => [...tensors[`model.layers.0.${name}.weight`]!.values]));
}

describe('loadWeights with quantization', () => {
  it.each(quantDTypes)('%s: matrices of layers become records, everything else stays', async dtype => {
    const tensors = completeTensors(config, 'model.');
    const loaded = await loadWeights(device, config, { checkpoint: fakeCheckpoint(tensors, 1000) }, 'auto', dtype);
    for (const { weight, dtype: placed } of loaded.layout.values()) {
      const matrix = /(qkv|attentionOut|mlpUp|mlpDown)\.weight$/.test(weight.name);
      expect(placed, weight.name).toBe(matrix ? dtype : 'f16');
      expect(isQuantised(weight)).toBe(matrix);
    }
    const expected = quantizeRows(
      dtype,
      rows(tensors, ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj']),
      128,
    );
    expect(await readWords(loaded, 'layers.0.qkv.weight')).toEqual(expected);
    loaded.dispose();
  });

  it.each(quantDTypes)('%s: the bytes on the device are those of the records', async dtype => {
    const tensors = completeTensors(config, 'model.');
    const supply = { checkpoint: fakeCheckpoint(tensors, 1000) };
    const plain = await loadWeights(device, config, supply);
    const before = device.allocatedBytes();
    plain.dispose();
    const loaded = await loadWeights(device, config, supply, 'auto', dtype);
    let saved = 0;
    for (const { weight, dtype: placed } of loaded.layout.values()) {
      if (isQuantDType(placed)) saved += shapeBytes('f16', weight.shape) - shapeBytes(placed, weight.shape);
    }
    expect(before - device.allocatedBytes()).toBe(saved);
    const ratio = { q8: 0.63, q4_32: 0.38, q4_128: 0.38, q4_32z: 0.45, q4_128z: 0.38 }[dtype];
    const matrix = [256, 256];
    expect(shapeBytes(dtype, matrix) / shapeBytes('f16', matrix)).toBeLessThan(ratio);
    loaded.dispose();
  });

  it('splits what is above the limit of the device into parts of whole records', async () => {
    await device.dispose();
    const wide = await openReferenceDevice({ maxTensorBytes: 70_000 });
    const [whole, parted] = [await openReferenceDevice(), wide];
    const supply = { checkpoint: fakeCheckpoint(completeTensors(config, 'model.'), 1000) };
    const values = await Promise.all(
      [whole, parted].map(async own => {
        device = own;
        const loaded = await loadWeights(own, config, supply, 'auto', 'q8');
        const { parts } = loaded.layout.get('layers.0.mlpUp.weight')!;
        const words: number[] = [];
        for (const { tensor } of parts) {
          const part = new Uint32Array(loaded.tensors[tensor]!.bytes / 4);
          await own.read(loaded.tensors[tensor]!, 0, part);
          words.push(...part);
        }
        loaded.dispose();
        return { count: parts.length, words };
      }),
    );
    expect(values.map(({ count }) => count)).toEqual([1, 2]);
    expect(values[1]!.words).toEqual(values[0]!.words);
    await whole.dispose();
    device = parted;
  });

  it('refuses columns that are not whole groups, with what fits', async () => {
    const supply = { checkpoint: fakeCheckpoint(completeTensors(config, 'model.'), 1000) };
    const odd = llamaConfig({ hiddenSize: 96, headDim: 24 });
    const oddSupply = { checkpoint: fakeCheckpoint(completeTensors(odd, 'model.'), 1000) };
    await expect(loadWeights(device, odd, oddSupply, 'auto', 'q4_128')).rejects.toThrow(
      'quantization is q4_128, but layers.0.qkv.weight has 96 columns, which are not whole groups of 128. Use q4 (groups of 32) or q8.',
    );
    const refusing = { ...device.info.dtypes, gatedLinear: { activations: ['f32'], weights: ['f32'] } } as const;
    Object.assign(device.info, { dtypes: refusing });
    await expect(loadWeights(device, config, supply, 'auto', 'q8')).rejects.toThrow('does not offer gatedLinear');
  });

  it('names the tensor whose values have no codes', async () => {
    const tensors = completeTensors(config, 'model.');
    tensors['model.layers.1.mlp.down_proj.weight']!.values[200] = Number.NaN;
    const supply = { checkpoint: fakeCheckpoint(tensors, 1000) };
    await expect(loadWeights(device, config, supply, 'auto', 'q4_32')).rejects.toMatchObject({
      code: 'WT_VALUE',
      details: {
        tensor: 'model.layers.1.mlp.down_proj.weight',
        found: expect.stringMatching(/^rows \d+ \.\. \d+: found NaN/),
      },
    });
  });

  it('makes stand-ins too', async () => {
    const loaded = await loadWeights(device, config, { dummySeed: 1 }, 'auto', 'q4_32');
    const words = await readWords(loaded, 'layers.0.mlpDown.weight');
    const values = new Float32Array(128 * 256);
    dequantize('q4_32', words, 256, 0, values.length, values);
    expect(new Set(values).size).toBeGreaterThan(100);
    expect(dtypeBytes[loaded.layout.get('head.weight')!.dtype as FloatDType]).toBe(2);
    loaded.dispose();
  });
});
