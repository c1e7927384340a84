import type { PositionLogprobs, TokenLogprob } from '@quire/core';
import type { ServingTokenizer } from '../app/context.ts';

/** JSON has no -infinity; OpenAI's floor stands for it. */
const MIN_LOGPROB = -9999;

interface ChatToken {
  token: string;
  logprob: number;
  bytes: number[];
}
export interface ChatLogprobs {
  content: (ChatToken & { top_logprobs: ChatToken[] })[];
}

/** Chat shape: one entry per token, with the `topN` likeliest beside it. asIds: tokens are shown by their ids. */
export function chatLogprobs(
  tokenizer: ServingTokenizer,
  positions: readonly PositionLogprobs[],
  topN: number,
  asIds = false,
): ChatLogprobs {
  const entry = (t: TokenLogprob): ChatToken => {
    const bytes = tokenizer.tokenBytes(t.tokenId);
    return { token: asIds ? tokenName(t.tokenId) : tokenText(bytes), logprob: floor(t.logprob), bytes: [...bytes] };
  };
  return { content: positions.map(p => ({ ...entry(p), top_logprobs: p.top.slice(0, topN).map(entry) })) };
}

export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  /** The likeliest tokens and the chosen one. */
  top_logprobs: (Record<string, number> | null)[];
  /** Where each token starts in the text of the choice, in code points. */
  text_offset: number[];
}

/** Completions shape, made piece by piece, because offsets count from the start of the choice. */
export class CompletionLogprobsWriter {
  readonly #tokenizer: ServingTokenizer;
  readonly #skipSpecialTokens: boolean;
  readonly #asIds: boolean;
  #codePoints = 0;

  constructor(tokenizer: ServingTokenizer, skipSpecialTokens: boolean, asIds: boolean) {
    this.#asIds = asIds;
    this.#tokenizer = tokenizer;
    this.#skipSpecialTokens = skipSpecialTokens;
  }

  /** positions[i] is null where there is no prediction: at the first token of a prompt. */
  take(tokenIds: readonly number[], positions: readonly (PositionLogprobs | null)[]): CompletionLogprobs {
    const result: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
    tokenIds.forEach((id, i) => {
      const position = positions[i] ?? null;
      result.tokens.push(this.#text(id));
      result.token_logprobs.push(position && floor(position.logprob));
      result.top_logprobs.push(position && this.#top(position));
      result.text_offset.push(this.#offset(id));
    });
    return result;
  }

  #text(id: number): string {
    return this.#asIds ? tokenName(id) : tokenText(this.#tokenizer.tokenBytes(id));
  }

  #top(position: PositionLogprobs): Record<string, number> {
    const entries = [...position.top, position].map(t => [this.#text(t.tokenId), floor(t.logprob)] as const);
    return Object.fromEntries(entries);
  }

  /** A token that starts inside a character has that character's offset. */
  #offset(id: number): number {
    if (this.#skipSpecialTokens && this.#tokenizer.specialTokenIds.has(id)) return this.#codePoints;
    const bytes = this.#tokenizer.tokenBytes(id);
    const startsInside = bytes.length > 0 && isContinuation(bytes[0]!) && this.#codePoints > 0;
    const offset = this.#codePoints - (startsInside ? 1 : 0);
    for (const byte of bytes) if (!isContinuation(byte)) this.#codePoints++;
    return offset;
  }
}

/** vLLM's shape: per prompt token, a map from token id to its log-probability. */
export function promptLogprobs(
  tokenizer: ServingTokenizer,
  positions: readonly (PositionLogprobs | null)[],
): unknown[] {
  const entry = (t: TokenLogprob) => [
    t.tokenId,
    { logprob: floor(t.logprob), rank: t.rank, decoded_token: tokenText(tokenizer.tokenBytes(t.tokenId)) },
  ];
  return positions.map(p => p && Object.fromEntries([p, ...p.top].map(entry)));
}

/** vLLM's, for clients that read ids out of log-probabilities. */
function tokenName(id: number): string {
  return `token_id:${id}`;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The text of a token; one that is not whole characters is spelled out, so that no two tokens look alike. */
export function tokenText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return `bytes:${[...bytes].map(b => `\\x${b.toString(16).padStart(2, '0')}`).join('')}`;
  }
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

function floor(logprob: number): number {
  return Math.max(MIN_LOGPROB, logprob);
}
