// Offline inference, after vLLM's example of the same name. From the root of the repository:
//
//   npm ci && npm run build
//   node examples/dist/offline_inference.js

import { LLM, type SamplingParams } from '@quire/server';

const prompts = [
  'Hello, my name is',
  'The president of the United States is',
  'The capital of France is',
  'The future of AI is',
];
const samplingParams: SamplingParams = { temperature: 0.8, topP: 0.95 };

const llm = new LLM({ model: 'models/tiny-opt' });
const outputs = await llm.generate(prompts, samplingParams);
for (const { prompt, outputs: completions } of outputs) {
  console.log(`Prompt: ${JSON.stringify(prompt)}, Generated text: ${JSON.stringify(completions[0]?.text)}`);
}
await llm.dispose();
