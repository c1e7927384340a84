/** The worker of the page: holds the engine, so that the page stays free to draw. */
import { answer } from './exchange.ts';
import type { FromEngine, ToEngine } from './messages.ts';
import { EngineSession } from './session.ts';
import type { FetchMessage } from './worker-end.ts';

const tell = (message: FromEngine) => postMessage(message);
let session: Promise<EngineSession | null> = Promise.resolve(null);

addEventListener('message', ({ data, ports }: MessageEvent<ToEngine | FetchMessage>) => void handle(data, ports[0]));

async function handle(message: ToEngine | FetchMessage, port: MessagePort | undefined): Promise<void> {
  if (message.kind === 'load') {
    session = reload(session, message);
    return;
  }
  if (message.kind === 'crosscheck') {
    const { crosscheck } = await import('./crosscheck.ts');
    await crosscheck(message.op, message.broken, tell).catch(error =>
      tell({ kind: 'crosscheckFailed', message: words(error) }),
    );
    return;
  }
  const engine = await session;
  if (message.kind === 'fetch') return answer((await engine?.app()) ?? noEngine, message.request, port!);
  if (engine === null) return;
  if (message.kind === 'generate') void engine.generate(message.id, message.prompt, message.params);
  if (message.kind === 'abort') engine.abort(message.id);
  if (message.kind === 'pace') engine.pacer.set(message.pace);
  if (message.kind === 'step') engine.pacer.step();
  if (message.kind === 'forget') engine.forget();
  if (message.kind === 'loseDevice') engine.loseDevice();
}

const noEngine = {
  fetch: async () => {
    const error = {
      message: 'No model is loaded in this tab.',
      type: 'ServiceUnavailable',
      param: null,
      code: 'not_ready',
    };
    return Response.json({ error }, { status: 503 });
  },
};

/** One model at a time: the one before is freed first. */
async function reload(
  before: Promise<EngineSession | null>,
  { model, settings }: Extract<ToEngine, { kind: 'load' }>,
): Promise<EngineSession | null> {
  try {
    await (await before)?.dispose();
    return await EngineSession.open(model, settings, tell);
  } catch (error) {
    tell({ kind: 'failed', message: words(error) });
    return null;
  }
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
