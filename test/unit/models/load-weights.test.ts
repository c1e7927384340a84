import { type Device, type DType, type DTypeTable, dtypeBytes } from '@quire/core/contract';
import { decodeFloats } from '@quire/core/program';
import { openReferenceDevice } from '@quire/core/reference';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LoadedWeights, loadWeights } from '../../../packages/core/src/models/index.ts';
import { llamaConfig, optConfig } from './configs.ts';
import { completeTensors, type FakeTensor, fakeCheckpoint } from './fake-checkpoint.ts';

let device: Device;
beforeEach(async () => {
  device = await openReferenceDevice();
});
afterEach(async () => {
  expect(device.allocatedBytes()).toBe(0);
  await device.dispose();
});

async function read({ tensors }: LoadedWeights, name: string): Promise<number[]> {
  const tensor = tensors[name]!;
  const count = tensor.spec.shape.reduce((product, size) => product * size, 1);
  const raw = tensor.spec.dtype === 'f32' ? new Float32Array(count) : new Uint16Array(count);
  await device.read(tensor, 0, raw);
  return [...decodeFloats(tensor.spec.dtype, raw)];
}

function stacked(tensors: Record<string, FakeTensor>, names: readonly string[]): number[] {
  return names.flatMap(name => [...tensors[name]!.values]);
}

const qkv = ['q', 'k', 'v'].map(p => `model.layers.1.self_attn.${p}_proj`);
const gateUp = ['gate', 'up'].map(p => `model.layers.0.mlp.${p}_proj.weight`);

describe('loadWeights', () => {
  it.each(['f32', 'f16', 'bf16'] as const)('stacks projections and keeps %s', async dtype => {
    const config = llamaConfig({ attentionBias: true, dtype });
    const tensors = completeTensors(config, 'model.');
    const loaded = await loadWeights(device, config, { checkpoint: fakeCheckpoint(tensors) });
    expect(loaded.tensors['layers.1.qkv.weight']!.spec).toMatchObject({ dtype, shape: [64, 32], usage: 'weight' });
    expect(await read(loaded, 'layers.1.qkv.weight')).toEqual(
      stacked(
        tensors,
        qkv.map(name => `${name}.weight`),
      ),
    );
    expect(await read(loaded, 'layers.1.qkv.bias')).toEqual(
      stacked(
        tensors,
        qkv.map(name => `${name}.bias`),
      ),
    );
    expect(await read(loaded, 'layers.0.mlpUp.weight')).toEqual(stacked(tensors, gateUp));
    expect(loaded.bytes).toBe(device.allocatedBytes());
    loaded.dispose();
  });

  it('splits rows across sources', async () => {
    await device.dispose();
    device = await openReferenceDevice({ maxTensorBytes: 64 * 32 * 2 });
    const config = llamaConfig({ numHeads: 8, numKvHeads: 4 });
    const tensors = completeTensors(config, 'model.');
    const loaded = await loadWeights(device, config, { checkpoint: fakeCheckpoint(tensors, 1000) });
    const parts = [
      ...(await read(loaded, 'layers.1.qkv.weight.part0')),
      ...(await read(loaded, 'layers.1.qkv.weight.part1')),
    ];
    expect(parts).toEqual(
      stacked(
        tensors,
        qkv.map(name => `${name}.weight`),
      ),
    );
    loaded.dispose();
  });

  it('converts what the device does not offer, or what is asked for', async () => {
    const narrow = withLinearWeights(device, ['f32', 'f16']);
    const config = llamaConfig({ dtype: 'bf16' });
    const tensors = completeTensors(config, 'model.');
    const loaded = await loadWeights(narrow, config, { checkpoint: fakeCheckpoint(tensors) });
    expect(loaded.tensors['layers.0.mlpUp.weight']!.spec.dtype).toBe('f32');
    expect(loaded.tensors['finalNorm.weight']!.spec.dtype).toBe('bf16');
    expect(await read(loaded, 'layers.0.mlpUp.weight')).toEqual(stacked(tensors, gateUp));
    loaded.dispose();

    const asked = await loadWeights(device, config, { checkpoint: fakeCheckpoint(tensors) }, 'f16');
    expect(Object.values(asked.tensors).every(tensor => tensor.spec.dtype === 'f16')).toBe(true);
    expect(await read(asked, 'layers.0.mlpUp.weight')).toEqual(stacked(tensors, gateUp));
    asked.dispose();
  });

  it('takes f32 for a weight whose sources or bias differ in dtype', async () => {
    const config = llamaConfig({ attentionBias: true });
    const tensors = completeTensors(config, 'model.');
    tensors['model.layers.1.self_attn.k_proj.bias']!.dtype = 'f32';
    const loaded = await loadWeights(device, config, { checkpoint: fakeCheckpoint(tensors) });
    expect(loaded.tensors['layers.1.qkv.weight']!.spec.dtype).toBe('f32');
    expect(loaded.tensors['layers.0.qkv.weight']!.spec.dtype).toBe('f16');
    expect(await read(loaded, 'layers.1.qkv.bias')).toEqual(
      stacked(
        tensors,
        qkv.map(name => `${name}.bias`),
      ),
    );
    loaded.dispose();
  });

  it('fills the scale of a plain normalisation with ones', async () => {
    const config = optConfig({ opt: { layerNormAffine: false } });
    const tensors = completeTensors(config, 'model.decoder.');
    const loaded = await loadWeights(device, config, { checkpoint: fakeCheckpoint(tensors) });
    expect(await read(loaded, 'layers.0.mlpNorm.weight')).toEqual(new Array(32).fill(1));
    loaded.dispose();
  });

  it('frees everything when a stream fails', async () => {
    const config = llamaConfig();
    const checkpoint = fakeCheckpoint(completeTensors(config, 'model.'));
    const failing = {
      ...checkpoint,
      async *stream(tensor: Parameters<typeof checkpoint.stream>[0]) {
        if (tensor.name === 'model.norm.weight') throw new Error('disk gone');
        yield* checkpoint.stream(tensor);
      },
    };
    await expect(loadWeights(device, config, { checkpoint: failing })).rejects.toThrow('disk gone');
  });

  it('makes seeded stand-ins without a checkpoint', async () => {
    const config = llamaConfig({ attentionBias: true });
    const one = await loadWeights(device, config, { dummySeed: 1 });
    const again = await loadWeights(device, config, { dummySeed: 1 });
    const other = await loadWeights(device, config, { dummySeed: 2 });
    const values = await read(one, 'layers.0.qkv.weight');
    expect(await read(again, 'layers.0.qkv.weight')).toEqual(values);
    expect(await read(other, 'layers.0.qkv.weight')).not.toEqual(values);
    const variance = values.reduce((sum, v) => sum + v * v, 0) / values.length;
    expect(variance * 32).toBeGreaterThan(0.9);
    expect(variance * 32).toBeLessThan(1.1);
    expect(await read(one, 'layers.1.qkv.weight')).not.toEqual(values);
    expect(await read(one, 'finalNorm.weight')).toEqual(new Array(32).fill(1));
    expect(await read(one, 'layers.0.qkv.bias')).toEqual(new Array(64).fill(0));
    for (const loaded of [one, again, other]) loaded.dispose();
  });

  it('makes the same stand-ins in row parts, without equal rows', async () => {
    const config = llamaConfig({ vocabSize: 40_000 });
    const whole = await loadWeights(device, config, { dummySeed: 1 });
    const values = await read(whole, 'embed.weight');
    const rows = Array.from({ length: config.vocabSize }, (_, i) => values.slice(32 * i, 32 * (i + 1)).join());
    expect(new Set(rows).size).toBe(config.vocabSize);
    whole.dispose();
    await device.dispose();
    device = await openReferenceDevice({ maxTensorBytes: 2 ** 21 });
    const split = await loadWeights(device, config, { dummySeed: 1 });
    const parts = split.layout.get('embed.weight')!.parts;
    expect(parts.length).toBe(2);
    expect((await Promise.all(parts.map(({ tensor }) => read(split, tensor)))).flat()).toEqual(values);
    split.dispose();
  });
});

/** The device with fewer dtypes for the weights of linear. */
function withLinearWeights(inner: Device, weights: readonly DType[]): Device {
  expect(weights.every(dtype => dtype in dtypeBytes)).toBe(true);
  const dtypes: DTypeTable = { ...inner.info.dtypes, linear: { activations: ['f32'], weights } };
  return {
    info: { ...inner.info, dtypes },
    createTensor: spec => inner.createTensor(spec),
    upload: (tensor, chunks) => inner.upload(tensor, chunks),
  } as Partial<Device> as Device;
}
