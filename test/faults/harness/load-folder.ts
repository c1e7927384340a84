import { type ModelSource, openCheckpoint } from '@quire/core/weights';
import { parseGenerationConfig, parseModelConfig } from '../../../packages/core/src/models/parse-config.ts';
import { mapWeights } from '../../../packages/core/src/models/weight-map.ts';
import { loadTokenizer } from '../../../packages/core/src/tokenizer/load-tokenizer.ts';

/** Everything that the engine reads of a model folder, but for uploading the weights, in its order. */
export async function loadFolder(source: ModelSource): Promise<void> {
  const config = await parseModelConfig(source);
  await parseGenerationConfig(source, config.vocabSize);
  const checkpoint = await openCheckpoint(source);
  const map = mapWeights(config, checkpoint);
  await loadTokenizer(source);
  for (const tensor of map.values()) {
    let bytes = 0;
    for await (const chunk of checkpoint.stream(tensor)) bytes += chunk.length;
    if (bytes !== tensor.end - tensor.start) throw new Error(`${tensor.name}: streamed ${bytes} bytes`);
  }
}
