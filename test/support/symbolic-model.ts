/**
 * A model without numbers: the key/value of a token is a hash, and the next token is a function of all hashes read. Layer 1
 * holds h(token, position); layer 2 holds a fold over layer 1 up to its position, as deeper layers depend on the prefix.
 * Written twice: here over a plain token list (the oracle), in SymbolicExecutor over slots of blocks.
 */

export interface SymbolicSampling {
  temperature: number;
  /** Only the first ids are sampled, so that sequences repeat themselves; 0: all. */
  topK: number;
  seed: bigint;
  /** Stop ids are avoided while the sequence is shorter than this. */
  minTokensUntil: number;
  stopTokenIds: readonly number[];
  logitBias: readonly (readonly [number, number])[];
}

/** The token whose key and value are NaN. It comes only from prompts. */
export const NAN_TOKEN = 30;
/** A key/value that spreads to whatever reads it, as NaN does. */
export const NAN_MARKER = 0xffff_fffe;

/** `adapter`: which one computes the token; 0: none. */
export function slotHash(token: number, position: number, adapter = 0): number {
  if (token === NAN_TOKEN) return NAN_MARKER;
  return clean(mix(mix(0x9747b28c + adapter, token + 1), position));
}

/** Continues a fold by one slot; a marker once read stays. */
export function fold(state: number, slot: number): number {
  if (state === NAN_MARKER || slot === NAN_MARKER) return NAN_MARKER;
  return clean(mix(state, slot));
}

export const FOLD_START = 0x1234_5678;

/** The token that follows, from the fold over layer 2; of those that are not allowed the next one is taken. */
export function nextToken(
  state: number,
  length: number,
  sampling: SymbolicSampling,
  vocabSize: number,
  allows: (token: number) => boolean = () => true,
): number {
  const forced = sampling.logitBias.find(([, bias]) => bias >= 100);
  if (forced !== undefined) return forced[0];
  const noise = sampling.temperature === 0 ? 0 : Number(BigInt.asUintN(32, sampling.seed ^ (sampling.seed >> 32n)));
  let token = mix(state, mix(noise, length)) % (sampling.topK > 0 ? sampling.topK : vocabSize);
  const isMasked = () => length < sampling.minTokensUntil && sampling.stopTokenIds.includes(token);
  for (let tried = 0; token === NAN_TOKEN || isMasked() || !allows(token); tried++) {
    if (tried > vocabSize) throw new Error('No token is allowed.');
    token = (token + 1) % vocabSize;
  }
  return token;
}

/** A stand-in for log-probabilities: any function of the state will do, as long as both sides agree. */
export function fakeLogprob(state: number, index: number): number {
  return Math.fround(-((state % 1000) / 100) - index);
}

/** The fold over layer 2 after each token of a sequence, of one of several models. */
export function oracleStates(tokens: readonly number[], model = 0): number[] {
  let first = FOLD_START;
  let second = FOLD_START;
  return tokens.map((token, position) => {
    first = fold(first, slotHash(token, position, model));
    second = fold(second, first);
    return second;
  });
}

/** Values of layer 2 as they should lie in the slots of a sequence. */
export function oracleSlots(tokens: readonly number[]): number[] {
  let first = FOLD_START;
  return tokens.map((token, position) => {
    first = fold(first, slotHash(token, position));
    return first;
  });
}

function mix(h: number, word: number): number {
  const product = Math.imul((h ^ word) + 0x7ed55d16, 0x85ebca6b);
  const turned = Math.imul(product ^ (product >>> 15), 0xc2b2ae35) ^ word;
  return (turned ^ (turned >>> 13)) >>> 0;
}

function clean(h: number): number {
  return h >= NAN_MARKER ? 7 : h;
}
