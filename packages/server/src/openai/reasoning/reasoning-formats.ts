import type { ReasoningStart, ReasoningSyntax } from './reasoning-parser.ts';

/** vLLM's names of the ways in which models reason. */
export const reasoningSyntaxes = {
  /** The template may open the reasoning, and the model sometimes leaves that out. */
  deepseek_r1: { begin: '<think>', end: '</think>', isImplied: true },
  qwen3: { begin: '<think>', end: '</think>', isImplied: false },
} as const satisfies Record<string, ReasoningSyntax>;

export type ReasoningFormat = keyof typeof reasoningSyntaxes;

/** Where an answer to this prompt begins: templates open the reasoning, or close it at once to leave it out. */
export function reasoningStart({ begin, end }: ReasoningSyntax, prompt: string): ReasoningStart {
  const text = prompt.trimEnd();
  if (text.endsWith(begin)) return 'inside';
  return text.endsWith(end) ? 'after' : 'before';
}
