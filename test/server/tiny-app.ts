import { loadEngine, openModelInputs, parseEngineConfig } from '@quire/core';
import type { App } from '../../packages/server/src/app/app.ts';
import { createApp } from '../../packages/server/src/app/create-app.ts';
import { nodeRuntime } from '../../packages/server/src/index.ts';
import { openTestReference } from '../support/devices.ts';
import { tinyLlama } from './tiny-server.ts';

export interface TinyApp {
  app: App;
  /** Sends a POST with a body as it is. */
  post(path: string, body: string | Uint8Array<ArrayBuffer>): Promise<Response>;
  close(): Promise<void>;
}

/** The whole surface over tiny-llama on the reference device, without a socket. */
export async function openTinyApp(): Promise<TinyApp> {
  const config = parseEngineConfig({ model: tinyLlama, numGpuBlocksOverride: 200, maxNumSeqs: 16 });
  const opened: { close(): Promise<void> }[] = [];
  const inputs = await openModelInputs(config, config.model, nodeRuntime, resource => opened.push(resource));
  const { asyncLLM, tokenizer } = await loadEngine({ ...inputs, device: await openTestReference(), config });
  const app = createApp({ engine: asyncLLM, tokenizer: tokenizer! }, { modelNames: ['tiny'] });
  return {
    app,
    post: (path, body) =>
      app.fetch(
        new Request(`http://quire.invalid${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
        }),
      ),
    close: async () => {
      await asyncLLM.dispose();
      for (const resource of opened) await resource.close();
    },
  };
}
