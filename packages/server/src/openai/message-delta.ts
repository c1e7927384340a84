import type { OutputEvent } from './output-events.ts';

/** One call of a message, whole or in part, in OpenAI's form. */
export interface CallDelta {
  index: number;
  id?: string;
  type?: 'function';
  function: { name?: string; arguments: string };
}

/** What a message has, or gained. Reasoning stands under vLLM's name and the older one. */
export interface MessageDelta {
  content?: string;
  reasoning?: string;
  reasoning_content?: string;
  tool_calls?: CallDelta[];
}

/** Events of one completion in OpenAI's form: several parts of a call become one. `idOf` names a call by its index. */
export function messageDelta(events: readonly OutputEvent[], idOf: (index: number) => string): MessageDelta {
  const delta: MessageDelta = {};
  for (const event of events) {
    if (event.kind === 'content') delta.content = (delta.content ?? '') + event.text;
    else if (event.kind === 'call' || event.kind === 'arguments') addCall(delta, event, idOf);
    else delta.reasoning = delta.reasoning_content = (delta.reasoning ?? '') + event.text;
  }
  return delta;
}

function addCall(
  delta: MessageDelta,
  event: Extract<OutputEvent, { readonly index: number }>,
  idOf: (index: number) => string,
): void {
  delta.tool_calls ??= [];
  const { index } = event;
  if (event.kind === 'call') {
    delta.tool_calls.push({ index, id: idOf(index), type: 'function', function: { name: event.name, arguments: '' } });
    return;
  }
  const last = delta.tool_calls.at(-1);
  if (last?.index === index) last.function.arguments += event.text;
  else delta.tool_calls.push({ index, function: { arguments: event.text } });
}
