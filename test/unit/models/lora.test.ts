/** What a folder of an adapter may hold, and what is said of one that is wrong. */
import { MemorySource, type ModelFormatError } from '@quire/core/weights';
import { describe, expect, it } from 'vitest';
import { type AdapterLayer, loadAdapter, loraLayers } from '../../../packages/core/src/models/index.ts';
import { parseModelConfig } from '../../../packages/core/src/models/parse-config.ts';
import { openFolderSource } from '../../../packages/server/src/node/folder-source.ts';
import { type FileTensor, type FileTensors, safetensors } from '../../support/adapter-folder.ts';
import { llamaConfig } from './configs.ts';

const model = llamaConfig();
const target = { config: model, maxRank: 8, dtype: 'f32' } as const;

const basic = {
  peft_type: 'LORA',
  r: 2,
  lora_alpha: 4,
  target_modules: ['q_proj'],
  bias: 'none',
  task_type: 'CAUSAL_LM',
};

const moduleName = (layer: number, module: string) => `base_model.model.model.layers.${layer}.${module}`;

function pair(layer: number, module: string, [rows, columns]: readonly [number, number], rank = 2): FileTensors {
  const name = moduleName(layer, module);
  return {
    [`${name}.lora_A.weight`]: { shape: [rank, columns] },
    [`${name}.lora_B.weight`]: { shape: [rows, rank] },
  };
}

const queries = { ...pair(0, 'self_attn.q_proj', [32, 32]), ...pair(1, 'self_attn.q_proj', [32, 32]) };

function folder(config: object | string, tensors: FileTensors | null): MemorySource {
  const files = new Map<string, Uint8Array>();
  files.set(
    'adapter_config.json',
    new TextEncoder().encode(typeof config === 'string' ? config : JSON.stringify(config)),
  );
  if (tensors !== null) files.set('adapter_model.safetensors', safetensors(tensors));
  return new MemorySource(files);
}

async function failure(config: object | string, tensors: FileTensors | null = queries): Promise<string> {
  const error = await loadAdapter(folder(config, tensors), target).then(
    () => null,
    (reason: ModelFormatError) => reason,
  );
  if (error === null) expect.fail('the adapter was taken');
  return `${error.code}: ${error.message}`;
}

describe('an adapter', () => {
  it('lies in memory as on the device: filled up to the rank of its room, module by module', async () => {
    const values = Array.from({ length: 64 }, (_, i) => i);
    const tensors = {
      ...queries,
      [`${moduleName(0, 'self_attn.q_proj')}.lora_A.weight`]: { shape: [2, 32], values },
      [`${moduleName(0, 'self_attn.q_proj')}.lora_B.weight`]: { shape: [32, 2], values },
    };
    const { rank, layers } = await loadAdapter(folder(basic, tensors), target);
    expect(rank).toBe(2);
    expect([...layers.keys()]).toEqual(['layers.0.qkv', 'layers.1.qkv']);
    const [{ a, b, scales }] = layers.get('layers.0.qkv')! as [AdapterLayer];
    expect([a.length, b.length]).toEqual([3 * 8 * 32, 64 * 8]);
    expect([...a.subarray(0, 64)]).toEqual(values);
    expect(a.subarray(64).every(value => value === 0)).toBe(true);
    // Row i of B is columns 0 .. 7 of its own.
    expect([...b.subarray(8, 18)]).toEqual([2, 3, 0, 0, 0, 0, 0, 0, 4, 5]);
    expect(b.subarray(32 * 8).every(value => value === 0)).toBe(true);
    expect([...scales]).toEqual([2, 0, 0]);
  });

  it('scales by the square root of its rank where it says so, and by patterns', async () => {
    const tensors = {
      ...pair(0, 'self_attn.q_proj', [32, 32], 4),
      ...pair(1, 'self_attn.q_proj', [32, 32], 2),
      ...pair(0, 'mlp.down_proj', [32, 48], 2),
      ...pair(1, 'mlp.down_proj', [32, 48], 2),
    };
    const config = {
      ...basic,
      target_modules: ['q_proj', 'mlp.down_proj'],
      use_rslora: true,
      rank_pattern: { 'layers.0.self_attn.q_proj': 4 },
      // Modules of the model's class begin with `model.`.
      alpha_pattern: { 'model.layers.0.mlp.down_proj': 8 },
    };
    const { layers } = await loadAdapter(folder(config, tensors), target);
    expect(layers.get('layers.0.qkv')![0]!.scales[0]).toBe(2);
    expect(layers.get('layers.1.qkv')![0]!.scales[0]).toBeCloseTo(4 / Math.SQRT2, 6);
    expect(layers.get('layers.0.mlpDown')![0]!.scales[0]).toBeCloseTo(8 / Math.SQRT2, 6);
  });

  it('takes the rows of a fused projection to its slices', async () => {
    const source = await openFolderSource('test/fixtures/models/phi3-short');
    const config = await parseModelConfig(source).finally(() => source.close());
    const qkv = loraLayers(config).find(({ name }) => name === 'layers.0.qkv')!;
    expect(qkv.slices.map(({ module, columns }) => [module, columns])).toEqual([
      ['layers.0.self_attn.qkv_proj', 32],
      ['layers.0.self_attn.qkv_proj', 32],
      ['layers.0.self_attn.qkv_proj', 32],
    ]);
    const rows = Array.from({ length: 96 }, (_, i) => i);
    const one = (layer: number) => {
      const name = moduleName(layer, 'self_attn.qkv_proj');
      return {
        [`${name}.lora_A.weight`]: { shape: [1, 32] },
        [`${name}.lora_B.weight`]: { shape: [96, 1], values: rows },
      };
    };
    const settings = { ...basic, r: 1, target_modules: ['qkv_proj'] };
    const { layers } = await loadAdapter(folder(settings, { ...one(0), ...one(1) }), { ...target, config, maxRank: 1 });
    const [{ a, b }] = layers.get('layers.1.qkv')! as [AdapterLayer];
    expect([...b]).toEqual(rows);
    expect([...a.subarray(32, 64)]).toEqual([...a.subarray(0, 32)]);
  });

  it('is divided among ranks as the layers are: rows of B where outputs are, columns of A where the input is', async () => {
    // Four query heads and two KV heads of eight over two ranks.
    const counted = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
    const of = (module: string, [rows, columns]: readonly [number, number]) => ({
      [`${moduleName(0, module)}.lora_A.weight`]: { shape: [1, columns], values: counted(columns) },
      [`${moduleName(0, module)}.lora_B.weight`]: { shape: [rows, 1], values: counted(rows) },
    });
    const tensors = {
      ...of('self_attn.q_proj', [32, 32]),
      ...of('self_attn.v_proj', [16, 32]),
      ...of('self_attn.o_proj', [32, 32]),
    };
    const config = { ...basic, r: 1, target_modules: '.*', layers_to_transform: [0] };
    const { layers } = await loadAdapter(folder(config, tensors), { ...target, maxRank: 1, ranks: 2 });
    const [one, whole] = [counted(32).slice(16), counted(32)];
    const zeros = (count: number) => new Array<number>(count).fill(0);
    const [, second] = layers.get('layers.0.qkv')!;
    expect([...second!.a]).toEqual([...whole, ...zeros(32), ...whole]);
    expect([...second!.b]).toEqual([...one, ...zeros(8), ...counted(16).slice(8)]);
    const [, out] = layers.get('layers.0.attentionOut')!;
    expect([...out!.a]).toEqual(one);
    expect([...out!.b]).toEqual(whole);
  });

  it('changes no more than linear layers inside the decoder', () => {
    const kinds = (config = model) => [...new Set(loraLayers(config).map(({ name }) => name.split('.')[2]))];
    expect(kinds()).toEqual(['qkv', 'attentionOut', 'mlpUp', 'mlpDown']);
  });
});

const wrongConfigs: [what: string, config: object | string, message: string][] = [
  ['no JSON', '{', 'CF_JSON: adapter_config.json'],
  ['another method', { ...basic, peft_type: 'IA3' }, 'field peft_type: this value is not supported. Found "IA3"'],
  ['no rank', { ...basic, r: null }, 'CF_FIELD: adapter_config.json, field r'],
  ['rank 0', { ...basic, r: 0 }, 'Found 0. Expected an integer from 1'],
  ['a rank above the room', { ...basic, r: 9 }, 'The adapter has rank 9, but maxLoraRank of this engine is 8.'],
  ['a rank above it in a pattern', { ...basic, rank_pattern: { q_proj: 16 } }, 'The adapter has rank 16'],
  ['biases', { ...basic, bias: 'lora_only' }, 'field bias: this value is not supported. Found "lora_only"'],
  ['DoRA', { ...basic, use_dora: true }, 'CF_UNSUPPORTED: adapter_config.json, field use_dora'],
  ['biases of B', { ...basic, lora_bias: true }, 'field lora_bias'],
  [
    'whole modules',
    { ...basic, modules_to_save: ['lm_head'] },
    'field modules_to_save: this value is not supported. Found ["lm_head"]',
  ],
  ['tokens', { ...basic, trainable_token_indices: [1] }, 'field trainable_token_indices'],
  ['parameters', { ...basic, target_parameters: ['w'] }, 'field target_parameters'],
  ['a changed model', { ...basic, init_lora_weights: 'pissa_niter_4' }, 'field init_lora_weights'],
  ['repeated layers', { ...basic, layer_replication: [[0, 2]] }, 'field layer_replication'],
  ['an unknown field', { ...basic, use_magic: 3 }, 'field use_magic: this value is not supported. Found 3'],
  ['a pattern that is a regular expression', { ...basic, rank_pattern: { '.*q_proj': 4 } }, 'a regular expression'],
  ['no targets', { ...basic, target_modules: [] }, 'field target_modules'],
  ['targets of another type', { ...basic, target_modules: 3 }, 'field target_modules'],
  ['a field of another type', { ...basic, use_rslora: 'yes' }, 'field use_rslora'],
  ['layers that are none', { ...basic, layers_to_transform: ['x'] }, 'field layers_to_transform'],
];

describe('adapter_config.json', () => {
  it.each(wrongConfigs)('with %s is refused', async (_, config, message) => {
    expect(await failure(config)).toContain(message);
  });

  it.each([
    { lora_dropout: 0.1, inference_mode: true, base_model_name_or_path: 'x', peft_version: '0.18.0' },
    { use_dora: false, modules_to_save: null, layer_replication: null, megatron_config: null, loftq_config: {} },
    { init_lora_weights: true, fan_in_fan_out: true, revision: null, auto_mapping: null },
    { init_lora_weights: 'gaussian', target_modules: '.*\\.q_proj' },
    { something_new: null, another: false, more: [], further: {} },
    { exclude_modules: ['layers.1.self_attn.q_proj'], target_modules: ['q_proj'] },
  ])('may hold %j', async more => {
    await loadAdapter(folder({ ...basic, ...more }, queries), target);
  });

  it('must be there', async () => {
    await expect(loadAdapter(new MemorySource(new Map()), target)).rejects.toThrow('the file is missing');
  });
});

const A = `${moduleName(0, 'self_attn.q_proj')}.lora_A.weight`;
const B = `${moduleName(0, 'self_attn.q_proj')}.lora_B.weight`;
const { [B]: _, ...withoutB } = queries as Record<string, FileTensor>;
const wrongTensors: [what: string, tensors: FileTensors | null, message: string, more?: object][] = [
  ['no file', null, 'NO_WEIGHTS: adapter_model.safetensors: the file is missing'],
  ['no tensors', {}, 'WT_MISSING'],
  [
    'no B',
    withoutB,
    'WT_MISSING: adapter_model.safetensors, tensor base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight',
  ],
  ['a layer that is missing', pair(0, 'self_attn.q_proj', [32, 32]), 'layers.1.self_attn.q_proj.lora_A.weight'],
  ['a layer too many', { ...queries, ...pair(2, 'self_attn.q_proj', [32, 32]) }, 'WT_UNEXPECTED'],
  ['another depth', { ...queries, [A]: { shape: [2, 31] } }, 'Found [2, 31]. Expected [2, 32].'],
  ['other rows', { ...queries, [B]: { shape: [33, 2] } }, 'Found [33, 2]. Expected [32, 2].'],
  ['another rank', { ...queries, ...pair(0, 'self_attn.q_proj', [32, 32], 3) }, 'Found [3, 32]. Expected [2, 32].'],
  ['integers', { ...queries, [A]: { shape: [2, 32], dtype: 'I32' } }, 'WT_DTYPE'],
  [
    'an infinity',
    { ...queries, [A]: { shape: [2, 32], values: [0, Number.POSITIVE_INFINITY] } },
    'Found Infinity at 1.',
  ],
  ['a module of its own', { ...queries, 'base_model.model.lm_head.weight': { shape: [96, 32] } }, 'a whole module'],
  [
    'embeddings',
    { ...queries, 'base_model.model.model.embed_tokens.lora_embedding_A': { shape: [2, 96] } },
    'a change of the embeddings',
  ],
  [
    'the head',
    { ...queries, 'base_model.model.lm_head.lora_A.weight': { shape: [2, 32] } },
    'a module that is not among them',
  ],
  [
    'magnitudes',
    { ...queries, [A.replace('lora_A.weight', 'lora_magnitude_vector')]: { shape: [32] } },
    'a magnitude of DoRA',
  ],
  ['another prefix', pair(0, 'x', [32, 32]), 'WT_UNEXPECTED'],
  ['a module that is not named', { ...queries, ...pair(0, 'self_attn.k_proj', [16, 32]) }, 'field target_modules'],
  [
    'a module twice, with the class and without',
    { ...queries, [A.replace('model.model.layers', 'model.layers')]: { shape: [2, 32] } },
    'WT_UNEXPECTED',
  ],
  ['a scale that no f32 holds', queries, 'field lora_alpha', { lora_alpha: 1e300 }],
  ['a layer that is not named', queries, 'field layers_to_transform', { layers_to_transform: 1 }],
];

describe('adapter_model.safetensors', () => {
  it('with a value that the dtype of the engine does not hold is refused', async () => {
    const tensors = { ...queries, [A]: { shape: [2, 32], values: [0, 1e5] } };
    const loading = (dtype: 'f16' | 'bf16') => loadAdapter(folder(basic, tensors), { ...target, dtype });
    await expect(loading('f16')).rejects.toMatchObject({ code: 'WT_VALUE' });
    expect((await loading('bf16')).rank).toBe(2);
  });

  it.each(wrongTensors)('with %s is refused', async (_, tensors, message, more = {}) => {
    expect(await failure({ ...basic, ...more }, tensors)).toContain(message);
  });
});
