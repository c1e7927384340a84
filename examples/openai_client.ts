// The official OpenAI client against a running server. From the root of the repository, in two shells:
//
//   npm ci && npm start
//   node examples/dist/openai_client.js

import OpenAI from 'openai';

const client = new OpenAI({ baseURL: process.env.OPENAI_BASE_URL ?? 'http://localhost:8000/v1', apiKey: 'none' });

const { data: models } = await client.models.list();
const model = models[0]!.id;

const stream = await client.chat.completions.create({
  model,
  messages: [{ role: 'user', content: 'Tell me a story about a dog and a boat.' }],
  temperature: 0,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? '');
  if (chunk.usage)
    console.log(`\n\n${chunk.usage.prompt_tokens} prompt tokens, ${chunk.usage.completion_tokens} generated`);
}
