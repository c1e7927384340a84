/** An HTTP exchange over a MessagePort: the request goes in one message, the response comes in pieces as it is made. */

export interface PortRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string | null;
}

export type ToApp = { readonly kind: 'abort' } | { readonly kind: 'pull' };

export type FromApp =
  | { readonly kind: 'head'; readonly status: number; readonly headers: readonly (readonly [string, string])[] }
  | { readonly kind: 'part'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' }
  | { readonly kind: 'failed'; readonly message: string };

/** Answers one request. The next part is made when the reader has asked for it, so that a slow reader holds it back. */
export async function answer(
  app: { fetch(request: Request): Promise<Response> },
  { method, url, headers, body }: PortRequest,
  port: MessagePort,
): Promise<void> {
  const abort = new AbortController();
  let pulled = () => {};
  port.onmessage = ({ data }: MessageEvent<ToApp>) => (data.kind === 'abort' ? abort.abort() : pulled());
  const tell = (message: FromApp) => port.postMessage(message);
  try {
    const init = { method, headers: headers as [string, string][], body, signal: abort.signal };
    const response = await app.fetch(new Request(url, init));
    tell({ kind: 'head', status: response.status, headers: [...response.headers] });
    const reader = response.body?.getReader();
    for (;;) {
      await new Promise<void>(resolve => {
        pulled = resolve;
        abort.signal.addEventListener('abort', () => resolve(), { once: true });
      });
      if (abort.signal.aborted) return void (await reader?.cancel());
      const part = await reader?.read();
      if (part === undefined || part.done) return tell({ kind: 'end' });
      tell({ kind: 'part', bytes: part.value });
    }
  } catch (error) {
    tell({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
  } finally {
    port.close();
  }
}

/** The other end: a fetch whose requests go to `send`, with the port on which their answers come. */
export function portFetch(send: (request: PortRequest, port: MessagePort) => void): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    const { port1: port, port2 } = new MessageChannel();
    const body = request.body === null ? null : await request.text();
    const tell = (message: ToApp) => port.postMessage(message);
    return new Promise<Response>((resolve, reject) => {
      let stream: ReadableStreamDefaultController<Uint8Array> | null = null;
      const fail = (error: unknown) => (stream === null ? reject(error) : stream.error(error));
      request.signal.addEventListener('abort', () => {
        tell({ kind: 'abort' });
        fail(request.signal.reason);
      });
      port.onmessage = ({ data }: MessageEvent<FromApp>) => {
        if (data.kind === 'part') stream!.enqueue(data.bytes);
        else if (data.kind === 'end') stream!.close();
        else if (data.kind === 'failed') fail(new TypeError(data.message));
        else {
          const source: UnderlyingDefaultSource<Uint8Array> = {
            start: controller => {
              stream = controller;
            },
            pull: () => tell({ kind: 'pull' }),
            cancel: () => tell({ kind: 'abort' }),
          };
          const hasBody = ![204, 304].includes(data.status);
          const headers = data.headers as [string, string][];
          resolve(
            new Response(hasBody ? new ReadableStream(source, { highWaterMark: 1 }) : null, {
              status: data.status,
              headers,
            }),
          );
        }
      };
      const { method, url, headers } = request;
      send({ method, url, headers: [...headers], body }, port2);
    });
  };
}
