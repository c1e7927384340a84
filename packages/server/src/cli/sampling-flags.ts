import { type SamplingParams, toCamelCase } from '@quire/core';
import { type FlagSpecs, type FlagValues, UsageError } from './flags.ts';

/** Sampling parameters under vLLM's names. The seed of a run is the engine's --seed; a line of a prompts file may set its own. */
export const samplingFlags = {
  n: { type: 'integer', value: 'N', help: 'Completions per prompt. Default 1.' },
  'best-of': { type: 'integer', value: 'N', help: 'Completions to compute, of which the best n are shown. Default n.' },
  'use-beam-search': { type: 'boolean', help: 'Beam search of width best-of, with a temperature of 0.' },
  'length-penalty': { type: 'number', value: 'X', help: 'Of beam search: the exponent of the length. Default 1.' },
  'early-stopping': { type: 'string', value: 'true|false|never', help: 'Of beam search. Default false.' },
  'max-tokens': { type: 'integer', value: 'N', help: 'Tokens to generate at most. Default 16.' },
  'min-tokens': { type: 'integer', value: 'N', help: 'Tokens to generate at least. Default 0.' },
  temperature: { type: 'number', value: 'T', help: '0 chooses the likeliest token. Default 1.' },
  'top-p': {
    type: 'number',
    value: 'P',
    help: 'Keep the likeliest tokens that hold this share of the probability. Default 1.',
  },
  'top-k': { type: 'integer', value: 'K', help: 'Keep the K likeliest tokens; 0 keeps all. Default 0.' },
  'min-p': {
    type: 'number',
    value: 'P',
    help: "Drop tokens below this share of the likeliest token's probability. Default 0.",
  },
  'presence-penalty': { type: 'number', value: 'X', help: 'Between -2 and 2. Default 0.' },
  'frequency-penalty': { type: 'number', value: 'X', help: 'Between -2 and 2. Default 0.' },
  'repetition-penalty': { type: 'number', value: 'X', help: 'Above 0; 1 is off. Default 1.' },
  stop: { type: 'list', value: 'TEXT', help: 'End before this text. May be given several times.' },
  'stop-token-ids': { type: 'names', value: 'ID,ID', help: 'End at these token ids.' },
  'include-stop-str-in-output': { type: 'boolean', help: 'Keep the stop text in the output.' },
  'ignore-eos': { type: 'boolean', help: 'Go on after the end-of-sequence token.' },
  'skip-special-tokens': { type: 'boolean', help: 'Leave special tokens out of the text. Default on.' },
  'spaces-between-special-tokens': { type: 'boolean', help: 'Where special tokens are shown. Default on.' },
  detokenize: { type: 'boolean', help: 'Make text of the tokens. Default on.' },
  logprobs: { type: 'integer', value: 'N', help: 'Log-probabilities of the chosen token and the N likeliest.' },
  'prompt-logprobs': { type: 'integer', value: 'N', help: 'The same for the tokens of the prompt.' },
  'logprob-token-ids': {
    type: 'names',
    value: 'ID,ID',
    help: 'Log-probabilities of these ids instead of the likeliest.',
  },
  'allowed-token-ids': { type: 'names', value: 'ID,ID', help: 'The only ids that may be chosen.' },
  'bad-words': { type: 'list', value: 'TEXT', help: 'A word that may not be written. May be given several times.' },
  'structured-outputs': {
    type: 'json',
    value: 'JSON',
    help: 'What the text must be: {"json": SCHEMA}, {"json_object": true}, {"regex": TEXT}, {"choice": [TEXTS]} or {"grammar": EBNF}.',
  },
  priority: { type: 'integer', value: 'N', help: 'Lower is earlier, with --scheduling-policy priority. Default 0.' },
  'cache-salt': { type: 'string', value: 'TEXT', help: 'Share cached prefixes with requests of this salt only.' },
  'truncate-prompt-tokens': {
    type: 'integer',
    value: 'N',
    help: 'Keep the last N tokens of a prompt; -1: what the context has room for.',
  },
  'logit-bias': { type: 'string', value: 'JSON', help: 'Added to logits by token id, such as {"17": -100}.' },
} as const satisfies FlagSpecs;

/** The sampling parameters among the flags of a command. The engine checks their ranges. */
export function samplingParams(flags: FlagValues<typeof samplingFlags>): SamplingParams {
  const given = Object.keys(samplingFlags).filter(name => Object.hasOwn(flags, name)) as (keyof typeof samplingFlags)[];
  return Object.fromEntries(given.map(name => [toCamelCase(name.replaceAll('-', '_')), convert(name, flags)]));
}

function convert(name: keyof typeof samplingFlags, flags: FlagValues<typeof samplingFlags>): unknown {
  if (name === 'stop-token-ids' || name === 'logprob-token-ids' || name === 'allowed-token-ids') {
    return flags[name]?.map(Number);
  }
  if (name === 'early-stopping') return { true: true, false: false }[flags[name] ?? ''] ?? flags[name];
  if (name === 'logit-bias') return parseBias(flags[name] ?? '');
  return flags[name];
}

function parseBias(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new UsageError(`--logit-bias must be JSON such as {"17": -100}, got "${text}".`);
  }
}
