import type { DType, StepSizes } from '@quire/core/contract';
import { printProgram, programOfStage } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../../packages/core/src/models/config.ts';
import {
  architectureOf,
  assignStages,
  buildModelProgram,
  planShards,
  planWeights,
  shardConfig,
  shardWeights,
  supportedArchitectures,
  widestActivation,
} from '../../../packages/core/src/models/index.ts';
import { llamaConfig, optConfig } from './configs.ts';

const maxSizes: StepSizes = {
  tokens: 24,
  sequences: 4,
  decodeSequences: 4,
  samples: 4,
  blocksPerSequence: 4,
  maxQueryTokens: 24,
  deltaSegments: 0,
};
const rowState = { maxRows: 4, maxBlocksPerSequence: 4, maxModelLen: 64, ringSlots: 8, maxBiasWords: 16 };

function build(config: ModelConfig, maxTensorBytes = 1 << 27, activationDtype: DType = 'f32') {
  const weights = planWeights(architectureOf(config).weights(config), () => config.dtype, maxTensorBytes);
  const dtypes = { activationDtype, kvDtype: activationDtype === 'f32' ? 'f16' : activationDtype } as const;
  return buildModelProgram(config, { maxSizes, rowState, weights, blockSize: 16, numBlocks: 9, ...dtypes });
}

const variants: Record<string, ModelConfig> = {
  'llama-tied': llamaConfig(),
  'llama-head-and-biases': llamaConfig({ tieWordEmbeddings: false, attentionBias: true, mlpBias: true, headDim: 16 }),
  qwen2: llamaConfig({ architecture: 'Qwen2ForCausalLM', attentionBias: true, attentionOutBias: false }),
  qwen3: llamaConfig({ architecture: 'Qwen3ForCausalLM', qkNorm: 'heads', headDim: 16 }),
  mixtral: llamaConfig({
    architecture: 'MixtralForCausalLM',
    tieWordEmbeddings: false,
    intermediateSize: 24,
    experts: { count: 4, perToken: 2, normalize: true },
  }),
  'qwen3-moe': llamaConfig({
    architecture: 'Qwen3MoeForCausalLM',
    qkNorm: 'heads',
    numLayers: 1,
    intermediateSize: 24,
    experts: { count: 6, perToken: 3, normalize: false },
  }),
  'opt-pre-norm': optConfig(),
  'opt-post-norm-projected': optConfig({
    tieWordEmbeddings: false,
    opt: { doLayerNormBefore: false, finalLayerNorm: false, wordEmbedProjDim: 16 },
  }),
  'opt-plain-norm': optConfig({ opt: { layerNormAffine: false } }),
  mistral: llamaConfig({ architecture: 'MistralForCausalLM', layers: layers(24, 0) }),
  phi3: llamaConfig({ architecture: 'Phi3ForCausalLM', tieWordEmbeddings: false }),
  smollm3: llamaConfig({
    architecture: 'SmolLM3ForCausalLM',
    layers: [
      { window: 0, positions: 'global' },
      { window: 0, positions: 'none' },
    ],
  }),
  gemma: llamaConfig({
    architecture: 'GemmaForCausalLM',
    activation: 'geluTanh',
    embeddingScale: 5.65625,
    normsAddOne: true,
  }),
  gemma2: llamaConfig({
    architecture: 'Gemma2ForCausalLM',
    activation: 'geluTanh',
    embeddingScale: 5.65625,
    normsAddOne: true,
    attentionScale: 0.25,
    attentionSoftCap: 50,
    logitSoftCap: 30,
    layers: layers(24, 0),
  }),
  gemma3: llamaConfig({
    architecture: 'Gemma3ForCausalLM',
    activation: 'geluTanh',
    embeddingScale: 5.65625,
    normsAddOne: true,
    qkNorm: 'heads',
    localRope: { theta: 300, rotaryDim: 8, scaling: { type: 'none' } },
    layers: [
      { window: 24, positions: 'local' },
      { window: 0, positions: 'global' },
    ],
  }),
  olmo2: llamaConfig({ architecture: 'Olmo2ForCausalLM', qkNorm: 'all' }),
  gpt2: optConfig({ architecture: 'GPT2LMHeadModel', activation: 'geluTanh' }),
  'gpt-neox': optConfig({
    architecture: 'GPTNeoXForCausalLM',
    activation: 'gelu',
    parallelResidual: true,
    rope: { theta: 10000, rotaryDim: 4, scaling: { type: 'none' } },
  }),
};

function layers(...windows: number[]) {
  return windows.map(window => ({ window, positions: 'global' as const }));
}

describe('buildModelProgram', () => {
  it('has a snapshot of every supported architecture', async () => {
    expect(new Set(Object.values(variants).map(config => config.architecture))).toEqual(
      new Set(supportedArchitectures),
    );
    for (const [name, config] of Object.entries(variants)) {
      await expect(printProgram(build(config))).toMatchFileSnapshot(`__snapshots__/${name}.txt`);
    }
  });

  it('has the residual stream and all other activations in one dtype, and logits in f32', async () => {
    for (const [name, config] of Object.entries({ llama: llamaConfig(), opt: optConfig() })) {
      const program = build({ ...config, dtype: 'bf16' }, 1 << 27, 'bf16');
      await expect(printProgram(program)).toMatchFileSnapshot(`__snapshots__/${name}-bf16.txt`);
      const temporaries = Object.values(program.tensors).filter(({ kind }) => kind === 'temporary');
      expect(new Set(temporaries.map(({ dtype }) => dtype))).toEqual(new Set(['u32', 'bf16']));
      expect(program.tensors.logits!.dtype).toBe('f32');
    }
  });

  it('exchanges between the ranks of a group after the embedding, in each layer twice, and after the head', async () => {
    const whole = llamaConfig({ attentionBias: true });
    const shards = planShards(whole, 4);
    const config = shardConfig(whole, shards);
    const weights = planWeights(shardWeights(architectureOf(whole).weights(whole), shards), () => 'f16', 1 << 27);
    const shape = { maxSizes, rowState, blockSize: 16, numBlocks: 9 };
    const dtypes = { activationDtype: 'f32', kvDtype: 'f16' } as const;
    const program = buildModelProgram(config, { ...shape, ...dtypes, weights, ranks: 4 });
    await expect(printProgram(program)).toMatchFileSnapshot('__snapshots__/llama-rank-of-four.txt');
  });

  it('hands the hidden states from stage to stage of a pipeline', async () => {
    const config = llamaConfig({ numLayers: 3 });
    const weights = planWeights(assignStages(architectureOf(config).weights(config), config, 2), () => 'f16', 1 << 27);
    const shape = { maxSizes, rowState, blockSize: 16, numBlocks: 9 };
    const dtypes = { activationDtype: 'f32', kvDtype: 'f16' } as const;
    const program = buildModelProgram(config, { ...shape, ...dtypes, weights, stages: 2 });
    await expect(printProgram(program)).toMatchFileSnapshot('__snapshots__/llama-two-stages.txt');
    const opsOf = (stage: number) => programOfStage(program, stage).ops.map(({ op }) => op);
    expect(opsOf(0).slice(-2)).toEqual(['linear', 'send']);
    expect(opsOf(1).slice(0, 4)).toEqual(['prepareInputs', 'prepareSamples', 'recv', 'rmsNorm']);
    // A stage has the tensors of its own ops: two of three layers, and the table of tokens.
    const caches = Object.keys(programOfStage(program, 0).tensors).filter(name => name.startsWith('kCache'));
    expect(caches).toEqual(['kCache.0', 'kCache.1']);
    expect(Object.keys(programOfStage(program, 1).tensors)).not.toContain('embed.weight');
  });

  it('splits weights above the limit into row parts of one output', async () => {
    const program = build(llamaConfig({ tieWordEmbeddings: false, attentionBias: true }), 64 * 32 * 2);
    const head = program.ops.filter(op => op.op === 'linear' && op.out === 'logits');
    expect(head).toMatchObject([
      { weight: 'head.weight.part0', outColumn: 0 },
      { weight: 'head.weight.part1', outColumn: 64 },
    ]);
    expect(program.ops.filter(op => op.op === 'embed')).toMatchObject([
      { table: 'embed.weight.part0', firstRow: 0 },
      { table: 'embed.weight.part1', firstRow: 64 },
    ]);
    expect(program.tensors['head.weight.part1']!.shape).toEqual([32, 32]);
  });

  it('splits a bias like the weight it follows', () => {
    const program = build(llamaConfig({ attentionBias: true, headDim: 16 }), 100 * 32 * 2);
    const qkv = program.ops.filter(op => op.op === 'linear' && op.out === 'layers.0.qkv');
    expect(qkv).toMatchObject([
      { weight: 'layers.0.qkv.weight.part0', bias: 'layers.0.qkv.bias.part0', outColumn: 0 },
      { weight: 'layers.0.qkv.weight.part1', bias: 'layers.0.qkv.bias.part1', outColumn: 64 },
    ]);
  });

  it('refuses a device that cannot bind one row', () => {
    expect(() => build(llamaConfig(), 63)).toThrow(/A row of embed.weight takes 64 bytes.*at most 63 bytes/);
  });

  it.each([variants['llama-tied']!, variants.qwen2!, variants.qwen3!])(
    'needs eight ops per layer of $architecture',
    config => {
      const { ops } = build(config);
      const layer = ops.slice(3, 11).map(op => op.op);
      expect(layer).toEqual([
        'rmsNorm',
        'linear',
        'ropeKvWrite',
        'pagedAttention',
        'linear',
        'rmsNorm',
        'gatedLinear',
        'linear',
      ]);
      expect(ops.length).toBe(3 + 8 * config.numLayers + 3);
    },
  );

  it('computes gates and ups apart where their weight is in parts', () => {
    const config = llamaConfig({ mlpBias: true });
    const { ops } = build(config, 64 * config.hiddenSize * 2);
    const up = ops.filter(op => op.op === 'linear' && op.out === 'layers.0.mlpUp');
    expect(up).toMatchObject([
      { weight: 'layers.0.mlpUp.weight.part0', bias: 'layers.0.mlpUp.bias.part0', outColumn: 0 },
      { weight: 'layers.0.mlpUp.weight.part1', bias: 'layers.0.mlpUp.bias.part1', outColumn: 64 },
    ]);
    expect(ops.some(op => op.op === 'gatedActivation')).toBe(true);
    expect(ops.some(op => op.op === 'gatedLinear')).toBe(false);
  });

  it('computes logits of sampled rows only', () => {
    const { ops } = build(llamaConfig());
    const gather = ops.findIndex(op => op.op === 'gatherRows');
    expect(ops.slice(gather).map(op => op.op)).toEqual(['gatherRows', 'rmsNorm', 'linear']);
  });
});

describe('widestActivation', () => {
  it('is the widest temporary of a token', () => {
    for (const config of Object.values(variants)) {
      // Small enough that gates and ups are apart from their product.
      const widths = Object.values(build(config, 64 * 32 * 2).tensors)
        .filter(t => t.kind === 'temporary' && t.shape[0] === 'tokens')
        .map(t => (t.shape[1] ?? 1) as number);
      expect(widestActivation(config)).toBe(Math.max(...widths));
    }
  });
});
