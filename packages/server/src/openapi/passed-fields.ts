import type { SamplingField } from '../openai/sampling-fields.ts';
import type { ConstraintField } from '../openai/structured-fields.ts';

type JsonSchema = Readonly<Record<string, unknown>>;

const number = (minimum: number, maximum: number): JsonSchema => ({ type: ['number', 'null'], minimum, maximum });
const integer = (minimum?: number, maximum?: number): JsonSchema => ({
  type: ['integer', 'null'],
  ...(minimum === undefined ? {} : { minimum }),
  ...(maximum === undefined ? {} : { maximum }),
});
const flag: JsonSchema = { type: ['boolean', 'null'] };
const ids: JsonSchema = { type: ['array', 'null'], items: { type: 'integer', minimum: 0 } };
const object: JsonSchema = { type: ['object', 'null'] };

/** Fields that the engine checks, not a schema of ours. The type makes it an error to leave one out. */
export const passedFields: Readonly<Record<SamplingField | ConstraintField, JsonSchema>> = {
  n: integer(1, 128),
  best_of: integer(1, 128),
  use_beam_search: flag,
  length_penalty: { type: ['number', 'null'] },
  early_stopping: { anyOf: [{ type: ['boolean', 'null'] }, { const: 'never' }] },
  temperature: number(0, 2),
  top_p: { ...number(0, 1), exclusiveMinimum: 0 },
  presence_penalty: number(-2, 2),
  frequency_penalty: number(-2, 2),
  seed: integer(),
  stop: { type: ['string', 'array', 'null'], items: { type: 'string', minLength: 1 } },
  logit_bias: { type: ['object', 'null'], additionalProperties: { type: 'number', minimum: -100, maximum: 100 } },
  top_k: integer(-1),
  min_p: number(0, 1),
  repetition_penalty: { type: ['number', 'null'], exclusiveMinimum: 0 },
  stop_token_ids: ids,
  ignore_eos: flag,
  min_tokens: integer(0),
  include_stop_str_in_output: flag,
  skip_special_tokens: flag,
  spaces_between_special_tokens: flag,
  allowed_token_ids: ids,
  bad_words: { type: ['array', 'null'], items: { type: 'string', minLength: 1 }, maxItems: 128 },
  logprob_token_ids: { ...ids, maxItems: 128 },
  truncate_prompt_tokens: integer(-1),
  priority: integer(),
  prompt_logprobs: integer(-1),
  cache_salt: { type: ['string', 'null'], minLength: 1, maxLength: 256 },
  response_format: {
    ...object,
    required: ['type'],
    properties: { type: { enum: ['text', 'json_object', 'json_schema'] } },
  },
  structured_outputs: object,
  guided_json: { type: ['object', 'string', 'boolean', 'null'] },
  guided_regex: { type: ['string', 'null'] },
  guided_choice: { type: ['array', 'null'], items: { type: 'string' } },
  guided_grammar: { type: ['string', 'null'] },
};
