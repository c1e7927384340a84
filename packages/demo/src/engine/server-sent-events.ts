export interface ServerSentEvent {
  readonly event: string;
  readonly data: string;
}

/** The events of a body, as they come. EventSource cannot send a key. */
export async function* serverSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let text = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const events = text.split('\n\n');
      text = events.pop()!;
      for (const each of events) yield parse(each);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function parse(lines: string): ServerSentEvent {
  let [event, data] = ['message', ''];
  for (const line of lines.split('\n')) {
    if (line.startsWith('event: ')) event = line.slice(7);
    if (line.startsWith('data: ')) data += line.slice(6);
  }
  return { event, data };
}
