import { useSignal } from '@preact/signals';
import type { Session } from '../state/session.ts';

/** OpenAI's API, answered by the engine in this tab. */
export function Api({ session }: { session: Session }) {
  const answer = useSignal('');
  const running = useSignal(false);
  const model = session.info.value?.model ?? 'tiny-llama';
  const body = { model, messages: [{ role: 'user', content: 'Spell pencil.' }], stream: true };
  const ask = async () => {
    answer.value = '';
    running.value = true;
    try {
      const response = await session.fetch(new URL('chat/completions', session.apiUrl), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const text = response.body!.pipeThrough(new TextDecoderStream());
      for await (const part of text) answer.value += part;
    } catch (error) {
      answer.value = error instanceof Error ? error.message : String(error);
    } finally {
      running.value = false;
    }
  };
  return (
    <main class="models" id="panel">
      <h2>OpenAI's API {session.kind === 'tab' ? 'in this tab' : 'of this server'}</h2>
      {session.kind === 'tab' ? (
        <p>
          Requests of this page to <code>/v1/</code> never leave it: the engine in the worker answers them, with the
          code that answers in <code>quire serve</code>. The official client works as it is:
        </p>
      ) : (
        <p>The official client works as it is:</p>
      )}
      <pre>
        <code>{`const client = new OpenAI({
  baseURL: '${String(session.apiUrl).slice(0, -1)}',
  apiKey: ${session.kind === 'tab' ? "'none',\n  dangerouslyAllowBrowser: true" : 'KEY'},
});
const stream = await client.chat.completions.create(${JSON.stringify(body, null, 2)});`}</code>
      </pre>
      <button
        type="button"
        disabled={running.value || session.status.value.kind !== 'ready'}
        onClick={() => void ask()}
      >
        Send this request
      </button>
      <pre data-testid="api-answer" aria-live="polite">
        {answer.value}
      </pre>
    </main>
  );
}
