/** Ready-made checkpoints in few bits: what they become on the device, and what is wrong with malformed ones. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Device } from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';
import { MemorySource, openCheckpoint } from '@quire/core/weights';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadWeights } from '../../../packages/core/src/models/index.ts';
import { parseModelConfig } from '../../../packages/core/src/models/parse-config.ts';
import { chooseDTypes } from '../../../packages/core/src/worker/model-dtypes.ts';
import { safetensors } from '../../faults/writers/safetensors.ts';

const root = join(import.meta.dirname, '../../fixtures/quantized');

let device: Device;
beforeEach(async () => {
  device = await openReferenceDevice();
});
afterEach(async () => {
  expect(device.allocatedBytes()).toBe(0);
  await device.dispose();
});

interface Tensor {
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}
type Tensors = Record<string, Tensor>;
/** What is changed of config.json's quantization_config. */
type Changes = Record<string, unknown>;

function fixture(name: string): Map<string, Uint8Array> {
  const files = readdirSync(join(root, name));
  return new Map(files.map(file => [file, new Uint8Array(readFileSync(join(root, name, file)))]));
}

/** A fixture whose quantization_config and tensors are changed. */
function malformed(name: string, changes: Changes, change: (tensors: Tensors) => void = () => {}): MemorySource {
  const files = fixture(name);
  const config = JSON.parse(Buffer.from(files.get('config.json')!).toString());
  Object.assign(config.quantization_config, changes);
  files.set('config.json', Buffer.from(JSON.stringify(config)));
  const file = files.get('model.safetensors')!;
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const { __metadata__, ...entries } = JSON.parse(Buffer.from(file.subarray(8, 8 + length)).toString());
  const tensors: Tensors = {};
  for (const [tensor, { dtype, shape, data_offsets }] of Object.entries<
    Omit<Tensor, 'bytes'> & { data_offsets: number[] }
  >(entries)) {
    const [start, end] = data_offsets.map(at => 8 + length + at);
    tensors[tensor] = { dtype, shape, bytes: file.slice(start, end) };
  }
  change(tensors);
  let at = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([tensor, { dtype, shape, bytes }]) => {
      const data_offsets = [at, at + bytes.length];
      at = data_offsets[1]!;
      return [tensor, { dtype, shape, data_offsets }];
    }),
  );
  const data = Buffer.concat(Object.values(tensors).map(({ bytes }) => bytes));
  return new MemorySource(files.set('model.safetensors', safetensors(header, data)));
}

async function load(source: MemorySource) {
  const config = await parseModelConfig(source);
  return loadWeights(device, config, { checkpoint: await openCheckpoint(source) });
}

const q = 'model.layers.0.self_attn.q_proj';

describe('a checkpoint in few bits', () => {
  it.each([
    ['gptq-4bit-128', 'q4_128'],
    ['gptq-4bit-32-zeros', 'q4_32z'],
    ['gptq-4bit-32-desc-act-v2', 'f16'],
    ['gptq-8bit-rows', 'q8'],
    ['gptq-8bit-32', 'f16'],
    ['awq-128', 'q4_128z'],
    ['awq-32', 'q4_32z'],
    ['w4a16-128', 'q4_128'],
    ['w4a16-32-zeros', 'q4_32z'],
    ['w4a16-32-ordered', 'f16'],
    ['w8a16-rows', 'q8'],
    ['w8a8-int8', 'q8'],
    ['w8a8-fp8', 'bf16'],
    ['fp8-blocks', 'f16'],
    ['fp8-tensor', 'f16'],
  ] as const)('%s is %s on the device', async (name, dtype) => {
    const loaded = await load(new MemorySource(fixture(name)));
    expect(loaded.layout.get('layers.0.qkv.weight')!.dtype).toBe(dtype);
    expect(loaded.layout.get('layers.0.mlpDown.weight')!.dtype).toBe(
      name.startsWith('awq') ? 'f16' : dtype === 'bf16' ? 'f16' : dtype,
    );
    expect(loaded.layout.get('embed.weight')!.dtype).toMatch(/f16$/);
    loaded.dispose();
  });

  it('takes groups that are multiples of 32 by repeating their scales', async () => {
    // Groups of 64, the last one of the wider matrix shorter.
    const source = malformed('gptq-4bit-32-zeros', { group_size: 64 }, tensors => {
      for (const [name, tensor] of Object.entries(tensors)) {
        if (!/\.(scales|qzeros|g_idx)$/.test(name)) continue;
        if (name.endsWith('g_idx')) delete tensors[name];
        else {
          const groups = Math.ceil(tensor.shape[0]! / 2);
          tensor.bytes = tensor.bytes.slice(0, (tensor.bytes.length / tensor.shape[0]!) * groups);
          tensor.shape[0] = groups;
        }
      }
    });
    const loaded = await load(source);
    expect(loaded.layout.get('layers.0.qkv.weight')!.dtype).toBe('q4_32z');
    loaded.dispose();
  });

  it.each([
    ['gptq', 'gptq-4bit-128'],
    ['awq', 'awq-32'],
    ['compressed-tensors', 'w8a8-fp8'],
    ['fp8', 'fp8-blocks'],
  ] as const)('is in %s, and in nothing else', async (method, name) => {
    const model = await parseModelConfig(new MemorySource(fixture(name)));
    const config = { dtype: 'auto', kvCacheDtype: 'auto' } as const;
    expect(chooseDTypes({ ...config, quantization: method }, model, device)).not.toHaveProperty('quantization');
    expect(() => chooseDTypes({ ...config, quantization: 'q8' }, model, device)).toThrow(
      `quantization is q8, but the checkpoint is quantised with ${method}. Leave quantization out`,
    );
    const plain = { ...model, quantization: null };
    expect(() => chooseDTypes({ ...config, quantization: method }, plain, device)).toThrow(
      `quantization is ${method}, but config.json has no quantization_config`,
    );
  });

  it('tells what is not done as the checkpoint says', async () => {
    const notices: string[] = [];
    await parseModelConfig(new MemorySource(fixture('w8a8-fp8')), notice => notices.push(notice));
    await parseModelConfig(new MemorySource(fixture('gptq-4bit-32-desc-act-v2')), notice => notices.push(notice));
    expect(notices).toEqual([
      expect.stringContaining('activations keep their dtype'),
      expect.stringContaining('Weights in fp8 are held in 16 bits'),
      expect.stringContaining('desc_act is true'),
    ]);
  });
});

describe('a file of older checkpoints', () => {
  /** A fixture whose quantization_config lies in `file`, without the method. */
  function older(name: string, file: string, keep = false): Map<string, Uint8Array> {
    const files = fixture(name);
    const { quantization_config: settings, ...config } = JSON.parse(Buffer.from(files.get('config.json')!).toString());
    const { quant_method: _, ...rest } = settings;
    if (!keep) files.set('config.json', Buffer.from(JSON.stringify(config)));
    return files.set(file, Buffer.from(JSON.stringify(rest)));
  }

  it.each([
    ['gptq-4bit-128', 'quantize_config.json'],
    ['awq-32', 'quant_config.json'],
  ])('%s: says in %s what config.json would', async (name, file) => {
    const { quantization: expected } = await parseModelConfig(new MemorySource(fixture(name)));
    expect(expected).toMatchObject({ toldBy: 'quantization_config in config.json' });
    const { quantization } = await parseModelConfig(new MemorySource(older(name, file)));
    expect(quantization).toEqual({ ...expected, toldBy: file });
    // config.json comes first.
    const both = older(name, file, true).set(file, Buffer.from('{"bits": 2}'));
    expect((await parseModelConfig(new MemorySource(both))).quantization).toEqual(expected);
  });

  it('is named where it is wrong, or does not belong to the checkpoint', async () => {
    const file = 'quantize_config.json';
    const wrong = older('gptq-4bit-128', file).set(file, Buffer.from('{"bits": 3, "group_size": 128}'));
    await expect(parseModelConfig(new MemorySource(wrong))).rejects.toThrow(
      'quantize_config.json, field bits: this value is not supported. Found 3. Expected 4 or 8.',
    );
    const plain = fixture('awq-32');
    const config = JSON.parse(Buffer.from(plain.get('config.json')!).toString());
    delete config.quantization_config;
    plain.set('config.json', Buffer.from(JSON.stringify(config)));
    plain.set(
      'model.safetensors',
      safetensors({ x: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, new Uint8Array(4)),
    );
    plain.set(file, Buffer.from('{"bits": 4, "group_size": 32}'));
    const source = new MemorySource(plain);
    const [modelConfig, checkpoint] = [await parseModelConfig(source), await openCheckpoint(source)];
    await expect(loadWeights(device, modelConfig, { checkpoint })).rejects.toThrow(
      'since quantize_config.json says gptq. Check that quantize_config.json belongs to this checkpoint.',
    );
  });
});

describe('quantization_config', () => {
  it.each<[string, Changes, string, RegExp]>([
    [
      'gptq-4bit-128',
      { quant_method: 'bitsandbytes' },
      'CF_UNSUPPORTED',
      /quantization_config\.quant_method.*"bitsandbytes".*gptq, awq/,
    ],
    ['gptq-4bit-128', { quant_method: undefined }, 'CF_UNSUPPORTED', /quant_method: the field is missing/],
    ['gptq-4bit-128', { bits: 3 }, 'CF_UNSUPPORTED', /quantization_config\.bits.*Found 3\. Expected 4 or 8/],
    ['gptq-4bit-128', { group_size: 0 }, 'CF_FIELD', /group_size/],
    ['gptq-4bit-128', { group_size: '128' }, 'CF_FIELD', /group_size/],
    ['gptq-4bit-128', { sym: 1 }, 'CF_FIELD', /quantization_config\.sym/],
    ['gptq-4bit-128', { checkpoint_format: 'marlin' }, 'CF_UNSUPPORTED', /checkpoint_format.*"marlin".*gptq, gptq_v2/],
    [
      'gptq-4bit-128',
      { dynamic: { '+:.*down.*': { bits: 8 } } },
      'CF_UNSUPPORTED',
      /quantization_config\.dynamic.*a rule "\+:/,
    ],
    ['gptq-4bit-128', { rotation: 'hadamard' }, 'CF_UNSUPPORTED', /quantization_config\.rotation/],
    ['awq-32', { bits: 8 }, 'CF_UNSUPPORTED', /bits/],
    ['awq-32', { version: 'gemv' }, 'CF_UNSUPPORTED', /quantization_config\.version.*"gemv"/],
    ['awq-32', { zero_point: false }, 'CF_UNSUPPORTED', /zero_point/],
    ['awq-32', { modules_to_not_convert: 'lm_head' }, 'CF_FIELD', /modules_to_not_convert/],
    ['w8a8-int8', { format: 'nvfp4-pack-quantized' }, 'CF_UNSUPPORTED', /quantization_config\.format/],
    ['w8a8-int8', { kv_cache_scheme: { num_bits: 8 } }, 'CF_UNSUPPORTED', /kv_cache_scheme/],
    ['w8a8-int8', { sparsity_config: { format: 'sparse-24-bitmask' } }, 'CF_UNSUPPORTED', /sparsity_config\.format/],
    ['w8a8-int8', { transform_config: { config_groups: {} } }, 'CF_UNSUPPORTED', /transform_config/],
    ['w8a8-int8', { config_groups: {} }, 'CF_UNSUPPORTED', /config_groups.*0 groups/],
    [
      'w8a8-int8',
      { config_groups: { a: { weights: { num_bits: 8, strategy: 'token' } } } },
      'CF_UNSUPPORTED',
      /config_groups\.a\.weights\.strategy/,
    ],
    [
      'w8a8-int8',
      { config_groups: { a: { weights: { num_bits: 8, strategy: 'channel', symmetric: false } } } },
      'CF_UNSUPPORTED',
      /symmetric/,
    ],
    ['fp8-blocks', { fmt: 'e5m2' }, 'CF_UNSUPPORTED', /quantization_config\.fmt/],
    ['fp8-blocks', { weight_block_size: [128] }, 'CF_FIELD', /weight_block_size/],
    ['fp8-blocks', { activation_scheme: 'none' }, 'CF_UNSUPPORTED', /activation_scheme/],
  ])('of %s with %j is %s', async (name, changes, code, message) => {
    await expect(parseModelConfig(malformed(name, changes))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });
});

describe('tensors of few bits', () => {
  const cases: [string, string, Changes, (tensors: Tensors) => void, string, object][] = [
    ['no scales', 'gptq-4bit-128', {}, t => delete t[`${q}.scales`], 'WT_MISSING', { tensor: `${q}.scales` }],
    ['no zero points', 'awq-32', {}, t => delete t[`${q}.qzeros`], 'WT_MISSING', { tensor: `${q}.qzeros` }],
    ['no shape', 'w4a16-128', {}, t => delete t[`${q}.weight_shape`], 'WT_MISSING', { tensor: `${q}.weight_shape` }],
    [
      'no scale of fp8',
      'w8a8-fp8',
      {},
      t => delete t[`${q}.weight_scale`],
      'WT_MISSING',
      { tensor: `${q}.weight_scale` },
    ],
    ['no codes', 'gptq-4bit-128', {}, t => delete t[`${q}.qweight`], 'WT_MISSING', { tensor: `${q}.weight` }],
    ['other bits', 'gptq-8bit-rows', { bits: 4 }, () => {}, 'WT_SHAPE', { tensor: `${q}.qzeros` }],
    ['another group', 'gptq-4bit-128', { group_size: 32 }, () => {}, 'WT_SHAPE', { tensor: `${q}.qzeros` }],
    ['a group of scales too many', 'awq-32', {}, t => grow(t[`${q}.scales`]!), 'WT_SHAPE', { tensor: `${q}.scales` }],
    [
      'codes of three dimensions',
      'awq-32',
      {},
      t => t[`${q}.qweight`]!.shape.push(1),
      'WT_SHAPE',
      { found: '[64, 8, 1]' },
    ],
    [
      'codes as floats',
      'gptq-4bit-128',
      {},
      t => Object.assign(t[`${q}.qweight`]!, { dtype: 'F32' }),
      'WT_DTYPE',
      { found: 'f32' },
    ],
    [
      'scales as integers',
      'awq-32',
      {},
      t => Object.assign(t[`${q}.scales`]!, { dtype: 'I8', shape: [2, 128] }),
      'WT_DTYPE',
      { found: 'i8' },
    ],
    [
      'g_idx beyond the groups',
      'gptq-4bit-32-desc-act-v2',
      {},
      t => poke(t[`${q}.g_idx`]!, 5, 2),
      'WT_VALUE',
      { found: '2 for column 5' },
    ],
    [
      'g_idx below 0',
      'gptq-4bit-32-desc-act-v2',
      {},
      t => poke(t[`${q}.g_idx`]!, 7, -1),
      'WT_VALUE',
      { found: '-1 for column 7' },
    ],
    ['g_idx too short', 'gptq-4bit-32-desc-act-v2', {}, t => shrink(t[`${q}.g_idx`]!), 'WT_SHAPE', { found: '[63]' }],
    [
      'zero points that are not symmetric',
      'gptq-4bit-32-zeros',
      { sym: true },
      () => {},
      'WT_VALUE',
      { tensor: `${q}.qzeros` },
    ],
    [
      'zero points of the other version',
      'gptq-4bit-128',
      { checkpoint_format: 'gptq_v2' },
      () => {},
      'WT_VALUE',
      { found: '7 in row 0' },
    ],
    [
      'a scale of infinity',
      'gptq-4bit-128',
      {},
      t => t[`${q}.scales`]!.bytes.set([0, 0x7c], 6),
      'WT_VALUE',
      { found: 'Infinity at element 3' },
    ],
    [
      'a scale beyond f16',
      'w4a16-128',
      {},
      t => t[`${q}.weight_scale`]!.bytes.set([0, 0x48], 0),
      'WT_VALUE',
      { found: '131072' },
    ],
    [
      'a weight of fp8 that is NaN',
      'fp8-blocks',
      {},
      t => t[`${q}.weight`]!.bytes.set([0x7f], 9),
      'WT_VALUE',
      { found: 'NaN in column 9' },
    ],
    [
      'blocks of another size',
      'fp8-blocks',
      { weight_block_size: [16, 16] },
      () => {},
      'WT_SHAPE',
      { tensor: `${q}.weight_scale_inv` },
    ],
    [
      'a stated shape that does not fit',
      'w4a16-128',
      {},
      t => t[`${q}.weight_shape`]!.bytes.set([1], 8),
      'WT_VALUE',
      { tensor: `${q}.weight_shape` },
    ],
    [
      'a matrix of another size than config.json says',
      'awq-32',
      {},
      t => narrow(t),
      'WT_SHAPE',
      { tensor: `${q}.weight`, found: '[56, 64]' },
    ],
    [
      'codes of a module that is not converted',
      'awq-32',
      { modules_to_not_convert: ['self_attn.q_proj'] },
      () => {},
      'WT_UNEXPECTED',
      { tensor: `${q}.qweight` },
    ],
    [
      'a bias of zeros that is not',
      'gptq-4bit-128',
      {},
      t => t[`${q}.bias`]!.bytes.set([1], 0),
      'WT_UNEXPECTED',
      { tensor: `${q}.bias` },
    ],
    [
      'no codes at all',
      'gptq-4bit-128',
      { quant_method: 'fp8', activation_scheme: 'dynamic' },
      () => {},
      'WT_MISSING',
      { tensor: '*.weight' },
    ],
  ];

  it.each(cases)('%s (%s)', async (_, name, changes, change, code, details) => {
    await expect(load(malformed(name, changes, change))).rejects.toMatchObject({
      code,
      details: { file: 'model.safetensors', ...details },
    });
  });
});

function grow(tensor: Tensor): void {
  tensor.bytes = Buffer.concat([tensor.bytes, tensor.bytes.subarray(0, tensor.bytes.length / tensor.shape[0]!)]);
  tensor.shape[0]! += 1;
}

function shrink(tensor: Tensor): void {
  tensor.bytes = tensor.bytes.slice(0, -4);
  tensor.shape[0]! -= 1;
}

function poke(tensor: Tensor, at: number, value: number): void {
  new DataView(tensor.bytes.buffer, tensor.bytes.byteOffset).setInt32(4 * at, value, true);
}

/** Leaves the last eight rows of an AWQ matrix away. */
function narrow(tensors: Tensors): void {
  for (const part of ['qweight', 'qzeros', 'scales']) {
    const tensor = tensors[`${q}.${part}`]!;
    const [rows, width] = tensor.shape as [number, number];
    const cut = part === 'scales' ? 8 : 1;
    const size = tensor.bytes.length / rows;
    const kept = (size / width) * (width - cut);
    const lines = Array.from({ length: rows }, (_, row) => tensor.bytes.subarray(row * size, row * size + kept));
    tensor.bytes = Buffer.concat(lines);
    tensor.shape[1] = width - cut;
  }
}
