import type { DeviceTensor } from '@quire/core/contract';
import { DeviceGroup } from '@quire/core/group';
import { decodeFloats } from '@quire/core/program';
import { openReferenceDevice } from '@quire/core/reference';
import { describe, expect, it } from 'vitest';
import { loadWeights, planShards, shardConfig } from '../../../packages/core/src/models/index.ts';
import { llamaConfig, optConfig } from './configs.ts';
import { completeTensors, type FakeTensor, fakeCheckpoint } from './fake-checkpoint.ts';

describe('planShards', () => {
  it('divides KV heads with the query heads that read them', () => {
    const shards = planShards(llamaConfig({ numHeads: 8, numKvHeads: 4 }), 2);
    expect(shards.kvHeads).toEqual({
      length: 16,
      ranges: [
        [0, 16],
        [16, 32],
      ],
    });
    expect(shards.queryHeads).toEqual({
      length: 32,
      ranges: [
        [0, 32],
        [32, 64],
      ],
    });
    expect(shards.vocabulary).toEqual({
      length: 48,
      ranges: [
        [0, 48],
        [48, 96],
      ],
    });
    expect(shardConfig(llamaConfig({ numHeads: 8, numKvHeads: 4 }), shards)).toMatchObject({
      numHeads: 4,
      numKvHeads: 2,
      intermediateSize: 24,
      hiddenSize: 32,
      vocabSize: 96,
    });
  });

  it('gives a KV head to several ranks when there are fewer, with a share of its query heads each', () => {
    const shards = planShards(llamaConfig({ numHeads: 6, numKvHeads: 2 }), 4);
    expect(shards.kvHeads).toEqual({
      length: 8,
      ranges: [
        [0, 8],
        [0, 8],
        [8, 16],
        [8, 16],
      ],
    });
    // Three query heads over two ranks: two and one, and one of zeros.
    expect(shards.queryHeads).toEqual({
      length: 16,
      ranges: [
        [0, 16],
        [16, 24],
        [24, 40],
        [40, 48],
      ],
    });
  });

  it('fills up what does not divide', () => {
    const shards = planShards(optConfig({ numHeads: 6, numKvHeads: 6, vocabSize: 99, intermediateSize: 50 }), 4);
    expect(shards.kvHeads).toEqual({
      length: 16,
      ranges: [
        [0, 16],
        [16, 32],
        [32, 48],
        [48, 48],
      ],
    });
    expect(shards.vocabulary).toEqual({
      length: 25,
      ranges: [
        [0, 25],
        [25, 50],
        [50, 75],
        [75, 99],
      ],
    });
    expect(shards.intermediate.ranges.at(-1)).toEqual([39, 50]);
  });

  it('refuses numbers that fit neither way', () => {
    expect(() => planShards(llamaConfig({ numHeads: 4, numKvHeads: 2 }), 3)).toThrow(
      'tensorParallelSize is 3, but the model has 2 KV heads: expected at most as many ranks, or a multiple of them. Set it to 2.',
    );
  });
});

describe('loadWeights of a group', () => {
  it.each([
    ['llama', llamaConfig({ attentionBias: true, mlpBias: true, tieWordEmbeddings: false }), 'model.', 2, undefined],
    ['llama in small parts', llamaConfig({ attentionBias: true }), 'model.', 2, 2048],
    ['llama with shared KV heads', llamaConfig({ attentionBias: true }), 'model.', 4, undefined],
    ['opt', optConfig({ vocabSize: 95 }), 'model.decoder.', 3, undefined],
    ['opt as f32', optConfig({ dtype: 'bf16' }), 'model.decoder.', 2, undefined],
  ] as const)('gives every rank its rows and columns: %s', async (name, config, prefix, size, maxTensorBytes) => {
    const devices = await Promise.all(
      Array.from({ length: size }, () => openReferenceDevice(maxTensorBytes ? { maxTensorBytes } : {})),
    );
    const group = new DeviceGroup([devices], () => {});
    const tensors = completeTensors(config, prefix);
    const dtype = name.endsWith('f32') ? 'f32' : 'auto';
    const loaded = await loadWeights(group, config, { checkpoint: fakeCheckpoint(tensors) }, dtype);
    const shards = planShards(config, size);
    const queryRows = config.numHeads * config.headDim;
    for (let rank = 0; rank < size; rank++) {
      const read = async (weight: string) => {
        const parts = Object.entries(loaded.tensors).filter(
          ([key]) => key === weight || key.startsWith(`${weight}.part`),
        );
        const rows = await Promise.all(parts.map(([, tensor]) => readRank(tensor, rank)));
        return rows.flat();
      };
      const cut = (tensor: FakeTensor, split: 'queryHeads' | 'kvHeads' | 'intermediate' | 'vocabulary') =>
        rowsOf(tensor, ...shards[split].ranges[rank]!, shards[split].length);
      const attention = `${prefix}layers.1.self_attn`;
      const qkv = (kind: string) => [
        ...cut(tensors[`${attention}.q_proj.${kind}`]!, 'queryHeads'),
        ...cut(tensors[`${attention}.k_proj.${kind}`]!, 'kvHeads'),
        ...cut(tensors[`${attention}.v_proj.${kind}`]!, 'kvHeads'),
      ];
      expect(await read('layers.1.qkv.weight')).toEqual(qkv('weight'));
      expect(await read('layers.1.qkv.bias')).toEqual(qkv('bias'));
      expect(await read('embed.weight')).toEqual(cut(tensors[`${prefix}embed_tokens.weight`]!, 'vocabulary'));
      // Columns of the output projection; its bias counts once.
      const out = config.opt === null ? 'o_proj' : 'out_proj';
      const { values } = tensors[`${attention}.${out}.weight`]!;
      const [start, end] = shards.queryHeads.ranges[rank]!;
      const padding = new Array<number>(shards.queryHeads.length - (end - start)).fill(0);
      const expected = Array.from({ length: config.hiddenSize }, (_, row) => [
        ...values.subarray(row * queryRows + start, row * queryRows + end),
        ...padding,
      ]);
      expect(await read('layers.1.attentionOut.weight')).toEqual(expected.flat());
      const bias = [...tensors[`${attention}.${out}.bias`]!.values];
      expect(await read('layers.1.attentionOut.bias')).toEqual(rank === 0 ? bias : bias.map(() => 0));
    }
    expect(group.allocatedBytes()).toBe(size * loaded.bytes);
    loaded.dispose();
    await group.dispose();
  });
});

/** Rows [start, end), then zeros up to `length` rows. */
function rowsOf({ shape, values }: FakeTensor, start: number, end: number, length: number): number[] {
  const width = shape[1] ?? 1;
  return [
    ...values.subarray(start * width, end * width),
    ...new Array<number>((length - (end - start)) * width).fill(0),
  ];
}

async function readRank(tensor: DeviceTensor, rank: number): Promise<number[]> {
  const { spec, parts } = tensor as DeviceTensor & { parts: readonly (readonly DeviceTensor[])[] };
  const part = parts[0]![rank] as DeviceTensor & { raw: Float32Array | Uint16Array };
  return [...decodeFloats(spec.dtype, part.raw)];
}
