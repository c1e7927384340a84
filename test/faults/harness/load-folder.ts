import { type ModelSource, openCheckpoint } from '@quire/core/weights';
import { parseGenerationConfig, parseModelConfig } from '../../../packages/core/src/models/parse-config.ts';
import { mapWeights } from '../../../packages/core/src/models/weight-map.ts';
import { loadTokenizer } from '../../../packages/core/src/tokenizer/load-tokenizer.ts';

/** Everything that the engine reads of a model folder, in its order, and one use of its chat template. */
export async function loadFolder(source: ModelSource): Promise<void> {
  const config = await parseModelConfig(source);
  await parseGenerationConfig(source, config.vocabSize);
  const checkpoint = await openCheckpoint(source);
  const map = mapWeights(config, checkpoint);
  const tokenizer = await loadTokenizer(source);
  if (tokenizer.hasChatTemplate) tokenizer.encodeChat([{ role: 'user', content: 'Hello!' }]);
  for (const tensor of map.values()) {
    let bytes = 0;
    for await (const chunk of checkpoint.stream(tensor)) bytes += chunk.length;
    if (bytes !== tensor.end - tensor.start) throw new Error(`${tensor.name}: streamed ${bytes} bytes`);
  }
}
