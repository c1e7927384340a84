/** GGUF files: the same model as its folder, under the same names; blocks of few bits; and what is wrong with broken ones. */
import { fileURLToPath } from 'node:url';
import { loadTokenizer, type ModelConfig } from '@quire/core';
import { dequantize } from '@quire/core/program';
import { type Checkpoint, MemorySource, type ModelSource, openCheckpoint, openGguf } from '@quire/core/weights';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../../packages/core/src/models/parse-config.ts';
import { blockValues, q4Records } from '../../../packages/core/src/weights/gguf/blocks.ts';
import { openFolderSource } from '../../../packages/server/src/node/folder-source.ts';
import { folderToGguf } from '../../../scripts/gguf/folder-to-gguf.mjs';
import {
  fromHalf,
  type GgufMetadata,
  quantizeQ4_0,
  quantizeQ4_K,
  quantizeQ6_K,
  quantizeQ8_0,
  writeGguf,
} from '../../../scripts/gguf/write-gguf.mjs';
import { ggufCases, goodGguf, usualGguf } from '../../faults/cases/gguf.ts';

const tinyLlama = fileURLToPath(new URL('../../../models/tiny-llama', import.meta.url));
const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/models/${name}`, import.meta.url));
const open = (bytes: Uint8Array) => openGguf(new MemorySource(new Map([['m.gguf', bytes]])), 'm.gguf');

/** All values of a tensor in f32. */
async function valuesOf(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const tensor = checkpoint.tensors.get(name)!;
  const chunks: Uint8Array[] = [];
  for await (const chunk of checkpoint.stream(tensor)) chunks.push(chunk.slice());
  const bytes = new Uint8Array(Buffer.concat(chunks));
  expect(bytes.length).toBe(tensor.end - tensor.start);
  if (tensor.dtype === 'f32') return new Float32Array(bytes.buffer);
  const halves = new Uint16Array(bytes.buffer);
  if (tensor.dtype === 'f16') return Float32Array.from(halves, fromHalf);
  return new Float32Array(Uint32Array.from(halves, bits => bits << 16).buffer);
}

/** The file has factors of rotary positions in f32. */
function rounded(config: ModelConfig): ModelConfig {
  const { rope } = config;
  if (rope?.scaling.type !== 'longrope') return config;
  const { shortFactors, longFactors, attentionFactor } = rope.scaling;
  const scaling = {
    ...rope.scaling,
    shortFactors: shortFactors.map(Math.fround),
    longFactors: longFactors.map(Math.fround),
    attentionFactor: Math.fround(attentionFactor),
  };
  return { ...config, rope: { ...rope, scaling } };
}

describe('a GGUF file of a folder', () => {
  it.each([
    [tinyLlama, 'F32'],
    [tinyLlama, 'F16'],
    [fixture('qwen2-tied'), 'F32'],
    [fixture('qwen3-tied'), 'BF16'],
    [fixture('gemma2'), 'F32'],
    [fixture('gemma'), 'F32'],
    [fixture('mixtral'), 'BF16'],
    [fixture('qwen3-moe'), 'F32'],
    [fixture('phi3-long'), 'F32'],
  ] as const)('of %s in %s is the same model', async (folder, type) => {
    const source = await openFolderSource(folder);
    const gguf = await open(folderToGguf(folder, type));
    const [expected, found] = [await parseModelConfig(source), await parseModelConfig(gguf)];
    const stored = {
      bosTokenId: found.bosTokenId,
      eosTokenIds: found.eosTokenIds,
      padTokenId: null,
      dtype: found.dtype,
    };
    expect(rounded(found)).toEqual({
      ...rounded(expected),
      ...stored,
      normEps: expect.closeTo(expected.normEps, 9),
      // llama.cpp does not round it to the dtype of the weights, and knows one scale of attention alone.
      embeddingScale: expect.closeTo(expected.embeddingScale, 1),
      attentionScale: found.attentionScale,
      activation: expected.activation === 'gelu' ? 'geluTanh' : expected.activation,
    });
    const [theirs, ours] = [await openCheckpoint(source), await openCheckpoint(gguf)];
    expect([...ours.tensors.keys()].sort()).toEqual([...theirs.tensors.keys()].sort());
    for (const name of ours.tensors.keys()) {
      const [a, b] = [await valuesOf(theirs, name), await valuesOf(ours, name)];
      // A norm with its one added, and taken away again, is rounded.
      const error = a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i]!)), 0);
      expect(error, name).toBeLessThanOrEqual(found.normsAddOne && name.endsWith('norm.weight') ? 2 ** -23 : 0);
    }
    await source.close();
  });

  it('brings its tokenizer and its chat template along', async () => {
    const source = await openFolderSource(tinyLlama);
    const [expected, found] = [
      await loadTokenizer(source),
      await loadTokenizer(await open(folderToGguf(tinyLlama, 'F16'))),
    ];
    const messages = [{ role: 'user', content: 'What is 1234 + 5?' }] as const;
    for (const text of ['Once upon a time, there were 1234 dragons.\n\n  é🦊', '<|im_start|>user', '']) {
      expect(found.encode(text)).toEqual(expected.encode(text));
      expect(found.decode(found.encode(text))).toBe(expected.decode(expected.encode(text)));
    }
    expect(found.encodeChat(messages)).toEqual(expected.encodeChat(messages));
    await source.close();
  });

  it('gives rows of a tensor alone, also of heads that are turned', async () => {
    const checkpoint = await openCheckpoint(await open(folderToGguf(tinyLlama, 'F32')));
    const name = 'model.layers.0.self_attn.k_proj.weight';
    const tensor = checkpoint.tensors.get(name)!;
    const all = await valuesOf(checkpoint, name);
    const rowBytes = (tensor.end - tensor.start) / tensor.shape[0]!;
    for (const [first, end] of [
      [0, 1],
      [5, 40],
      [33, 64],
    ] as const) {
      const chunks: Uint8Array[] = [];
      const part = { ...tensor, start: first * rowBytes, end: end * rowBytes };
      for await (const chunk of checkpoint.stream(part)) chunks.push(chunk.slice());
      const values = new Float32Array(new Uint8Array(Buffer.concat(chunks)).buffer);
      expect(values).toEqual(all.slice((first * rowBytes) / 4, (end * rowBytes) / 4));
    }
  });

  it('gives a tensor of several chunks in whole heads', async () => {
    const [heads, headRows] = [4096, 100];
    const data = Float32Array.from({ length: heads * headRows * 4 }, (_, i) => i);
    const shape = [heads * headRows, 4];
    const metadata = { ...usualGguf, 'llama.attention.head_count_kv': ['u32', heads] } as const;
    const keys = { name: 'blk.0.attn_k.weight', shape, type: 'F32', data } as const;
    const checkpoint = await openCheckpoint(await open(writeGguf(metadata, [keys])));
    const tensor = checkpoint.tensors.get('model.layers.0.self_attn.k_proj.weight')!;
    let row = 0;
    let chunks = 0;
    for await (const chunk of checkpoint.stream(tensor)) {
      chunks++;
      const values = new Float32Array(chunk.slice().buffer);
      for (let i = 0; i < values.length; i += 4, row++) {
        const within = row % headRows;
        const stored = row - within + 2 * (within % (headRows / 2)) + Math.floor((2 * within) / headRows);
        if (values[i] !== 4 * stored || values[i + 3] !== 4 * stored + 3)
          expect([row, values[i]]).toEqual([row, 4 * stored]);
      }
    }
    expect(row).toBe(heads * headRows);
    expect(chunks).toBe(2);
  });
});

describe('blocks of few bits', () => {
  const values = Float32Array.from({ length: 1024 }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 37) / 9) + 0.1);

  it.each([
    ['Q4_0', quantizeQ4_0, 8],
    ['Q8_0', quantizeQ8_0, 127],
    ['Q4_K', quantizeQ4_K, 8],
    ['Q6_K', quantizeQ6_K, 28],
  ] as const)('%s hold what was put into them', (type, quantize, levels) => {
    const found = blockValues(type, quantize(values));
    found.forEach((value, i) => {
      expect(Math.abs(value - values[i]!)).toBeLessThan(6 / levels);
    });
  });

  it('in Q4_0 are records of q4_32, to the bit', () => {
    const bytes = quantizeQ4_0(values);
    const records = q4Records(bytes, 128);
    const found = new Float32Array(1024);
    dequantize('q4_32', new Uint32Array(records.buffer), 128, 0, 1024, found);
    expect(found).toEqual(blockValues('Q4_0', bytes));
  });

  it('by hand: a block of each', () => {
    const q4 = new Uint8Array(18).fill(0x1f, 2);
    q4.set([0x00, 0x40]);
    expect([...blockValues('Q4_0', q4)]).toEqual([...Array(16).fill(14), ...Array(16).fill(-14)]);
    const q8 = new Uint8Array(34).fill(0xfe, 2);
    q8.set([0x00, 0x38]);
    expect([...blockValues('Q8_0', q8)]).toEqual(Array(32).fill(-1));
    // Scale 1, minimum 0.5; groups 0 .. 3 have (1, 2), groups 4 .. 7 (1 + 16, 2 + 32): high bits above the first eight bytes.
    const q4k = new Uint8Array(144).fill(0x53, 16);
    q4k.set([0x00, 0x3c, 0x00, 0x38]);
    q4k.set([0x41, 0x41, 0x41, 0x41, 0x82, 0x82, 0x82, 0x82, 0x21, 0x21, 0x21, 0x21], 4);
    const k = blockValues('Q4_K', q4k);
    expect([k[0], k[32], k[128], k[160]]).toEqual([3 - 1, 5 - 1, 17 * 3 - 17, 17 * 5 - 17]);
    const q6 = new Uint8Array(210).fill(0x21, 0, 128).fill(0b11_10_01_00, 128, 192).fill(2, 192, 208);
    q6.set([0x00, 0x3c], 208);
    const s = blockValues('Q6_K', q6);
    expect([s[0], s[32], s[64], s[96]]).toEqual([1 - 32, 1 + 16 - 32, 2 + 32 - 32, 2 + 48 - 32].map(code => 2 * code));
  });
});

describe('a broken GGUF file', () => {
  it('is not the one that all others are made of', async () => {
    expect((await open(goodGguf)).location).toBe('memory/m.gguf');
  });

  it.each(ggufCases)('%s', async (_, bytes, code) => {
    await expect(open(bytes)).rejects.toMatchObject({ code });
  });

  it('every cut of it', async () => {
    for (let length = 0; length < goodGguf.length; length++) {
      await expect(open(goodGguf.slice(0, length))).rejects.toMatchObject({
        code: expect.stringMatching(/^GG_(MAGIC|TRUNC)$/),
      });
    }
  });
});

describe('SentencePiece', () => {
  let source: ModelSource;
  beforeAll(async () => {
    // Scores: the longer, the better, but for "bc", which comes before "ab".
    const pieces = [
      '<unk>',
      '<s>',
      '</s>',
      ...Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`),
    ];
    const words = ['\u2581', 'a', 'b', 'c', 'bc', 'ab', 'abc', '\u2581a'];
    const types = [2, 3, 3, ...Array(256).fill(6), ...words.map(() => 1)];
    const tokens = [...pieces, ...words];
    const scores = tokens.map((token, id) => (id < 259 ? 0 : token === 'bc' ? -1 : -(id - 258)));
    const metadata: GgufMetadata = {
      'general.architecture': ['string', 'llama'],
      'llama.block_count': ['u32', 1],
      'llama.context_length': ['u32', 8],
      'llama.embedding_length': ['u32', 4],
      'llama.feed_forward_length': ['u32', 4],
      'llama.attention.head_count': ['u32', 1],
      'llama.attention.layer_norm_rms_epsilon': ['f32', 1e-5],
      'tokenizer.ggml.model': ['string', 'llama'],
      'tokenizer.ggml.tokens': [['string'], tokens],
      'tokenizer.ggml.token_type': [['i32'], types],
      'tokenizer.ggml.scores': [['f32'], scores],
      'tokenizer.ggml.bos_token_id': ['u32', 1],
      'tokenizer.ggml.eos_token_id': ['u32', 2],
      'tokenizer.ggml.unknown_token_id': ['u32', 0],
    };
    const table = {
      name: 'token_embd.weight',
      shape: [tokens.length, 4],
      type: 'F32',
      data: new Float32Array(4 * tokens.length),
    } as const;
    source = await open(writeGguf(metadata, [table]));
  });

  it('joins the pieces of the best score first, and falls back on bytes', async () => {
    const tokenizer = await loadTokenizer(source);
    const text = (ids: readonly number[]) => ids.map(id => tokenizer.decode([id], { skipSpecialTokens: false }));
    const ids = tokenizer.encode('abcé');
    expect(ids[0]).toBe(1);
    // "bc" before "ab": then a + bc is abc.
    expect(ids.slice(1)).toEqual([259, 265, 3 + 0xc3, 3 + 0xa9]);
    expect(tokenizer.decode(ids)).toBe('abcé');
    expect(text(tokenizer.encode('a ab'))).toHaveLength(4);
  });
});
