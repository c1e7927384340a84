import { ConfigError } from '../errors.ts';
import { single } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import type { ModelWeight } from './model-weights.ts';

/** The stage of a pipeline that computes a layer: stages hold as many layers each as others, or one more or less. */
export function stageOfLayer(layer: number, { numLayers }: ModelConfig, stages: number): number {
  return Math.floor((layer * stages) / numLayers);
}

/** Layers of the stage that has the most. */
export function layersPerStage({ numLayers }: ModelConfig, stages: number): number {
  return Math.ceil(numLayers / stages);
}

/** Throws ConfigError when there are fewer layers than stages. */
export function checkStages(config: ModelConfig, stages: number): void {
  if (stages <= config.numLayers) return;
  throw new ConfigError(
    `pipelineParallelSize is ${stages}, but the model has ${config.numLayers} layers. Set it to at most ${config.numLayers}.`,
    'pipelineParallelSize',
  );
}

/**
 * The weights with the stage that holds each: the first has what comes before the layers, the last what comes after them. A table
 * that embeds and is the head as well is a weight of either stage.
 */
export function assignStages(
  weights: readonly ModelWeight[],
  config: ModelConfig,
  stages: number,
): readonly ModelWeight[] {
  if (stages === 1) return weights;
  const table = weights.find(({ name }) => name === 'embed.weight')!;
  const own = config.tieWordEmbeddings ? [...weights, single('head.weight', table.sources[0]!, ['linear'])] : weights;
  return own.map(weight => ({ ...weight, stage: stageOfWeight(weight.name, config, stages) }));
}

/** The stage of a weight, or of what belongs to it, by its name in the Program. */
export function stageOfWeight(name: string, config: ModelConfig, stages: number): number {
  const layer = /^layers\.(\d+)\./.exec(name)?.[1];
  if (layer !== undefined) return stageOfLayer(Number(layer), config, stages);
  return /^(finalNorm|projectOut|head)\./.test(name) ? stages - 1 : 0;
}
