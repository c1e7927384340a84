import type { FloatDType } from '../contract/contract.ts';
import { ModelFormatError } from '../errors.ts';
import type { Checkpoint, CheckpointTensor } from '../weights/types.ts';
import type { Architecture } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import { checkpointShape, type ModelWeight, type WeightSource } from './model-weights.ts';
import { architectureOf } from './registry.ts';

/** The checkpoint tensor of every source of a model's weights, by the source's name. */
export type WeightMap = ReadonlyMap<string, CheckpointTensor>;

const weightDTypes: readonly string[] = ['f32', 'f16', 'bf16'] satisfies FloatDType[];

/**
 * Finds every tensor that the model needs, under any of the prefixes that its class is saved with. Throws ModelFormatError
 * WT_MISSING, WT_SHAPE, WT_DTYPE, or WT_UNEXPECTED for a tensor that belongs to no weight of the model.
 */
export function mapWeights(config: ModelConfig, checkpoint: Checkpoint): WeightMap {
  const architecture = architectureOf(config);
  const map = new Map<string, CheckpointTensor>();
  for (const weight of architecture.weights(config)) {
    for (const source of weight.sources) {
      const tensor = find(source, architecture, checkpoint);
      checkTensor(tensor, source, config);
      map.set(source.name, tensor);
    }
  }
  checkUnexpected(map, architecture, config, checkpoint);
  return map;
}

/**
 * The dtype of a weight on a device: that of the checkpoint where all sources agree and every op that reads the weight is
 * offered with it, else f32, which every device offers and which holds the other two exactly.
 */
export function chooseDType(stored: readonly string[], offered: (dtype: FloatDType) => boolean): FloatDType {
  const [first] = stored;
  const agreed = stored.every(dtype => dtype === first) ? first : undefined;
  return isWeightDType(agreed) && offered(agreed) ? agreed : 'f32';
}

/** Sources whose dtype counts for a weight: its own, and those of the biases that share its dtype. */
export function dtypeSources(weight: ModelWeight, weights: readonly ModelWeight[]): WeightSource[] {
  const followers = weights.filter(other => other.follows === weight.name);
  return [weight, ...followers].flatMap(w => w.sources);
}

function isWeightDType(dtype: string | undefined): dtype is FloatDType {
  return dtype !== undefined && weightDTypes.includes(dtype);
}

function find(source: WeightSource, architecture: Architecture, checkpoint: Checkpoint): CheckpointTensor {
  const names = architecture.prefixes.map(prefix => prefix + source.name);
  for (const name of names) {
    const tensor = checkpoint.tensors.get(name);
    if (tensor !== undefined) return tensor;
  }
  throw new ModelFormatError('WT_MISSING', 'the checkpoint lacks a tensor of the model', {
    file: anyFile(checkpoint),
    tensor: names[0]!,
    found: `${checkpoint.tensors.size} tensors, none of them named ${names.join(' or ')}`,
    expected: `a tensor of shape [${checkpointShape(source).join(', ')}]`,
    advice:
      source.name === 'lm_head.weight'
        ? 'If the head shares the embedding table, set tie_word_embeddings to true in config.json.'
        : `Check that config.json belongs to this checkpoint and that ${architecture.name} is its architecture.`,
  });
}

function checkTensor(tensor: CheckpointTensor, source: WeightSource, config: ModelConfig): void {
  const details = { file: tensor.file, tensor: tensor.name };
  const shape = checkpointShape(source);
  const same = tensor.shape.length === shape.length && shape.every((d, i) => d === tensor.shape[i]);
  if (!same) {
    throw new ModelFormatError('WT_SHAPE', 'the tensor has another shape than config.json says', {
      ...details,
      found: `[${tensor.shape.join(', ')}]`,
      expected: `[${shape.join(', ')}]`,
      advice: `Check the sizes in config.json (hidden_size ${config.hiddenSize}, vocab_size ${config.vocabSize}).`,
    });
  }
  if (!isWeightDType(tensor.dtype)) {
    throw new ModelFormatError('WT_DTYPE', 'the tensor has a dtype that weights cannot have', {
      ...details,
      found: tensor.dtype,
      expected: weightDTypes.join(', '),
      advice: 'Save the model in one of these.',
    });
  }
}

function checkUnexpected(
  map: WeightMap,
  architecture: Architecture,
  config: ModelConfig,
  checkpoint: Checkpoint,
): void {
  const used = new Set([...map.values()].map(tensor => tensor.name));
  const unexpected = [...checkpoint.tensors.values()].filter(
    ({ name }) => !used.has(name) && !architecture.ignores(name, config),
  );
  const [first] = unexpected;
  if (first === undefined) return;
  throw new ModelFormatError('WT_UNEXPECTED', 'the tensor belongs to no weight of the model', {
    file: first.file,
    tensor: first.name,
    found: `${unexpected.length} such tensor${unexpected.length === 1 ? '' : 's'} of ${checkpoint.tensors.size}`,
    expected: `the tensors of ${architecture.name} with ${config.numLayers} layers`,
    advice: 'Check num_hidden_layers, the bias flags and tie_word_embeddings in config.json.',
  });
}

function anyFile(checkpoint: Checkpoint): string {
  for (const tensor of checkpoint.tensors.values()) return tensor.file;
  return 'checkpoint';
}
