/** Beam search over plain token lists, one list of candidates after another: what the engine's forks and rows must amount to. */

export interface Candidate {
  tokenId: number;
  logprob: number;
}

export interface BeamRules {
  width: number;
  n: number;
  maxTokens: number;
  minTokens: number;
  lengthPenalty: number;
  earlyStopping: boolean | 'never';
  ignoreEos: boolean;
  eos: number;
  stopTokenIds: readonly number[];
}

export interface FoundBeam {
  tokenIds: number[];
  cumulativeLogprob: number;
  finishReason: 'stop' | 'length';
}

/** `next` lists the most likely tokens after a sequence, best first. */
export async function beamOracle(
  prompt: readonly number[],
  next: (tokens: readonly number[]) => readonly Candidate[] | Promise<readonly Candidate[]>,
  rules: BeamRules,
): Promise<FoundBeam[]> {
  const { width, lengthPenalty, eos } = rules;
  const score = (tokens: readonly number[], total: number, length = tokens.length) =>
    total / (tokens.at(-1) === eos && length === tokens.length ? length - 1 : length) ** lengthPenalty;
  let running = [{ tokens: [...prompt], total: 0 }];
  let done: { tokens: number[]; total: number; isStop: boolean }[] = [];
  for (let step = 1; ; step++) {
    const isFree = step > rules.minTokens;
    const isStop = (token: number) => (token === eos && !rules.ignoreEos) || rules.stopTokenIds.includes(token);
    const isMasked = (token: number) => !isFree && (token === eos || rules.stopTokenIds.includes(token));
    const extended = running.map(async ({ tokens, total }) =>
      (await next(tokens))
        .filter(({ tokenId }) => !isMasked(tokenId))
        .map(({ tokenId, logprob }) => ({ tokens: [...tokens, tokenId], total: total + logprob })),
    );
    const children = (await Promise.all(extended))
      .flat()
      .sort((a, b) => b.total - a.total)
      .slice(0, 2 * width);
    const ends = (tokens: number[]) => isStop(tokens.at(-1)!) || step === rules.maxTokens;
    done = [
      ...done,
      ...children
        .filter(({ tokens }) => ends(tokens))
        .map(child => ({ ...child, isStop: isStop(child.tokens.at(-1)!) })),
    ]
      .sort((a, b) => score(b.tokens, b.total) - score(a.tokens, a.total))
      .slice(0, width);
    running = children.filter(({ tokens }) => !ends(tokens)).slice(0, width);
    if (running.length === 0) break;
    if (done.length < width) continue;
    if (rules.earlyStopping === true) break;
    const [best] = running;
    const longest = prompt.length + rules.maxTokens;
    const length = rules.earlyStopping === 'never' && lengthPenalty > 0 ? longest : best!.tokens.length;
    const attainable = best!.total / length ** lengthPenalty;
    const worst = done.at(-1)!;
    if (score(worst.tokens, worst.total) >= attainable) break;
  }
  return done.slice(0, rules.n).map(({ tokens, total, isStop }) => ({
    tokenIds: tokens.slice(prompt.length),
    cumulativeLogprob: total,
    finishReason: isStop ? 'stop' : 'length',
  }));
}
