import { InvalidRequestError } from '../../errors.ts';
import type { ChatMessage } from '../types.ts';
import type { MarkedText } from './marks.ts';

/**
 * Drops what the template writes after the text of the last message, so that the model goes on with that message
 * (`continue_final_message` of Hugging Face's apply_chat_template). Throws InvalidRequestError when that text is not there.
 */
export function cutAfterFinalMessage(rendered: MarkedText, messages: readonly ChatMessage[]): MarkedText {
  const content = messages.at(-1)?.content ?? '';
  const trimmed = content.trim();
  const end = trimmed === '' ? -1 : endOfFinalMessage(rendered, trimmed, content.trimStart());
  if (end < 0) {
    throw new InvalidRequestError(
      'The last message has no text that the chat template repeats, so it cannot be continued.',
      'continue_final_message',
    );
  }
  const untrusted = rendered.untrusted
    .filter(([start]) => start < end)
    .map(([start, stop]) => [start, Math.min(stop, end)] as const);
  return { text: rendered.text.slice(0, end), untrusted };
}

/** Where the last message ends: with the white space at its end, if the template kept it. */
function endOfFinalMessage({ text, untrusted }: MarkedText, trimmed: string, untrimmed: string): number {
  for (let i = untrusted.length - 1; i >= 0; i--) {
    const [start, stop] = untrusted[i]!;
    const at = text.slice(start, stop).lastIndexOf(trimmed);
    if (at < 0) continue;
    const from = start + at;
    return from + (text.startsWith(untrimmed, from) ? untrimmed.length : trimmed.length);
  }
  return -1;
}
