import { ModelFormatError } from '../../errors.ts';
import type { Checkpoint, CheckpointTensor } from '../../weights/types.ts';
import type { ModelConfig } from '../config.ts';
import { architectureOf } from '../registry.ts';
import { ADAPTER_CONFIG, type AdapterConfig, endsWithName, ofModule } from './adapter-config.ts';
import { type LoraLayer, loraLayers } from './lora-layers.ts';

export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';
const PREFIX = 'base_model.model.';

/** A [rank, depth] and B [outputs, rank] of a module, as they are saved. */
export interface ModulePair {
  readonly a: CheckpointTensor;
  readonly b: CheckpointTensor;
}

/**
 * The tensors of each module. Every tensor of the file must belong to one, and every module that is named must be there, in the shapes
 * that the model and the adapter say.
 * @throws ModelFormatError when one is not.
 */
export function mapModules(
  checkpoint: Checkpoint,
  layers: readonly LoraLayer[],
  settings: AdapterConfig,
  config: ModelConfig,
): Map<string, ModulePair> {
  const modules = new Map(layers.flatMap(layer => layer.slices.map(({ module }) => [module, layer] as const)));
  const found = new Map<string, Partial<Record<'a' | 'b', CheckpointTensor>>>();
  for (const tensor of checkpoint.tensors.values()) {
    const { module, kind } = readName(tensor, modules, config);
    checkTargeted(module, tensor, settings);
    if (found.get(module)?.[kind] !== undefined) throw twice(tensor);
    found.set(module, { ...found.get(module), [kind]: tensor });
  }
  const pairs = new Map<string, ModulePair>();
  for (const [module, layer] of modules) {
    const { a, b } = found.get(module) ?? {};
    if (a === undefined && b === undefined && !isTargeted(module, settings)) continue;
    if (a === undefined || b === undefined) throw missing(module, a === undefined ? 'A' : 'B', config);
    checkShapes({ a, b }, module, layer, settings);
    pairs.set(module, { a, b });
  }
  if (pairs.size === 0) throw nothing(config);
  return pairs;
}

function readName(
  tensor: CheckpointTensor,
  modules: ReadonlyMap<string, LoraLayer>,
  config: ModelConfig,
): { module: string; kind: 'a' | 'b' } {
  const kinds = { '.lora_A.weight': 'a', '.lora_B.weight': 'b' } as const;
  const { name } = tensor;
  for (const [end, kind] of Object.entries(kinds)) {
    if (!name.startsWith(PREFIX) || !name.endsWith(end)) continue;
    const path = name.slice(PREFIX.length, -end.length);
    for (const prefix of architectureOf(config).prefixes) {
      const module = path.slice(prefix.length);
      if (path.startsWith(prefix) && modules.has(module)) return { module, kind };
    }
  }
  throw new ModelFormatError('WT_UNEXPECTED', 'the tensor belongs to no module that adapters may change', {
    file: ADAPTER_WEIGHTS,
    tensor: name,
    found: describeTensor(name),
    expected: `lora_A and lora_B of ${moduleKinds(modules.keys())} of ${config.architecture} with ${config.numLayers} layers`,
    advice: 'Train the adapter for these modules alone, or merge it into the model.',
  });
}

function describeTensor(name: string): string {
  if (name.includes('lora_magnitude_vector')) return 'a magnitude of DoRA';
  if (name.includes('lora_embedding_')) return 'a change of the embeddings';
  if (name.includes('.lora_')) return 'a module that is not among them';
  return 'a whole module, which the adapter would replace';
}

/** Names of modules within a layer, each once. */
function moduleKinds(modules: Iterable<string>): string {
  return [...new Set([...modules].map(module => module.replace(/^.*?\.\d+\./, '')))].join(', ');
}

function isTargeted(module: string, { targets, layers }: AdapterConfig): boolean {
  return targets !== null && isInLayers(module, layers) && targets.some(target => endsWithName(module, target));
}

function isInLayers(module: string, layers: AdapterConfig['layers']): boolean {
  return layers === null || layers.includes(Number(/\.(\d+)\./.exec(module)?.[1]));
}

function checkTargeted(module: string, tensor: CheckpointTensor, settings: AdapterConfig): void {
  const { targets, layers, fields } = settings;
  const isNamed = targets === null || targets.some(target => endsWithName(module, target));
  if (isNamed && isInLayers(module, layers)) return;
  throw fields.bad(
    isNamed ? 'layers_to_transform' : 'target_modules',
    `one that says so of ${tensor.name}`,
    'CF_FIELD',
  );
}

function checkShapes(
  { a, b }: ModulePair,
  module: string,
  { depth, slices }: LoraLayer,
  settings: AdapterConfig,
): void {
  const rank = ofModule(settings.rankPattern, module, settings.rank);
  const { slice, columns } = slices.find(slice => slice.module === module)!;
  checkTensor(a, [rank, depth]);
  checkTensor(b, [slice?.tensorRows ?? columns, rank]);
}

function checkTensor({ name, shape, dtype }: CheckpointTensor, expected: readonly number[]): void {
  const details = { file: ADAPTER_WEIGHTS, tensor: name };
  if (shape.length !== expected.length || expected.some((dim, i) => dim !== shape[i])) {
    throw new ModelFormatError('WT_SHAPE', 'the tensor has another shape than the model and the adapter say', {
      ...details,
      found: `[${shape.join(', ')}]`,
      expected: `[${expected.join(', ')}]`,
      advice: `Check that the adapter was trained for this model, and r in ${ADAPTER_CONFIG}.`,
    });
  }
  if (['f32', 'f16', 'bf16'].includes(dtype)) return;
  throw new ModelFormatError('WT_DTYPE', 'the tensor has a dtype that adapters cannot have', {
    ...details,
    found: dtype,
    expected: 'f32, f16 or bf16',
    advice: 'Save the adapter in one of these.',
  });
}

function missing(module: string, kind: 'A' | 'B', config: ModelConfig): ModelFormatError {
  return new ModelFormatError('WT_MISSING', 'the adapter lacks a tensor of a module that it changes', {
    file: ADAPTER_WEIGHTS,
    tensor: `${PREFIX}${architectureOf(config).prefixes[0]}${module}.lora_${kind}.weight`,
    expected: 'lora_A and lora_B of every module that target_modules names',
    advice: 'Save the adapter again.',
  });
}

function twice({ name }: CheckpointTensor): ModelFormatError {
  return new ModelFormatError(
    'WT_UNEXPECTED',
    'the adapter has a tensor of the same module and kind under another name',
    {
      file: ADAPTER_WEIGHTS,
      tensor: name,
      expected: 'one lora_A and one lora_B of a module',
      advice: 'Save the adapter again.',
    },
  );
}

function nothing(config: ModelConfig): ModelFormatError {
  return new ModelFormatError('WT_MISSING', 'the adapter changes nothing', {
    file: ADAPTER_WEIGHTS,
    found: 'no tensors',
    expected: `some of ${moduleKinds(loraLayers(config).flatMap(({ slices }) => slices.map(({ module }) => module)))}`,
  });
}
