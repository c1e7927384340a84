import { InvalidRequestError, type StructuredOutputs } from '@quire/core';
import { invalidField } from '../http/errors.ts';
import { show } from './fields.ts';

/** What the text must be, as a request said it. */
export interface Constraint {
  /** The field of the request. */
  readonly field: string;
  readonly value: StructuredOutputs;
  /** Places in the constraint: the first of which an error of the engine speaks is told in the words of the request. */
  readonly renamed: readonly Renamed[];
}

/** What the engine calls a place, what the request calls it, and the field that an error names. */
export interface Renamed {
  readonly engines: string;
  readonly requests: string;
  readonly param: string;
}

function constraint(field: string, value: StructuredOutputs, engines: string, requests: string): Constraint {
  return { field, value, renamed: [{ engines, requests, param: field }] };
}

/** vLLM's older names, and the kinds they stand for. */
const guided = {
  guided_json: 'json',
  guided_regex: 'regex',
  guided_choice: 'choice',
  guided_grammar: 'grammar',
} as const;

/** Fields that say what the text must be: OpenAI's response_format, and vLLM's. */
export type ConstraintField = 'response_format' | 'structured_outputs' | keyof typeof guided;
export const constraintFields: readonly string[] = ['response_format', 'structured_outputs', ...Object.keys(guided)];

/** The constraint of a request, of which there may be one. Throws HttpError 400. */
export function constraintOf(request: Readonly<Record<string, unknown>>): Constraint | null {
  const found = constraintFields.flatMap(field => {
    const value = request[field];
    const constraint = value === null || value === undefined ? null : readConstraint(field, value);
    return constraint === null ? [] : [constraint];
  });
  const [first = null, second] = found;
  if (second === undefined) return first;
  throw invalidField(second.field, `${second.field} cannot be used together with ${first!.field}.`, 'invalid_value');
}

function readConstraint(field: string, value: unknown): Constraint | null {
  if (field === 'response_format') return responseFormat(value);
  if (field === 'structured_outputs') return constraint(field, value as StructuredOutputs, field, field);
  const kind = guided[field as keyof typeof guided];
  return constraint(field, { [kind]: value }, `structured_outputs.${kind}`, field);
}

function responseFormat(value: unknown): Constraint | null {
  const field = 'response_format';
  const { type, json_schema: format } = (typeof value === 'object' ? value : {}) as Record<string, unknown>;
  if (type === 'text') return null;
  if (type === 'json_object') {
    return constraint(field, { jsonObject: true }, 'structured_outputs.json_object', field);
  }
  if (type === 'structural_tag') {
    return constraint(field, { structuralTag: value as object }, 'structured_outputs.structural_tag', field);
  }
  if (type !== 'json_schema') {
    throw invalidField(
      field,
      `${field}.type must be text, json_object, json_schema or structural_tag; found ${show(type)}.`,
      'invalid_value',
    );
  }
  const { schema } = (typeof format === 'object' && format !== null ? format : {}) as { schema?: object };
  const place = `${field}.json_schema.schema`;
  if (typeof schema !== 'object' || schema === null) {
    throw invalidField(field, `${place} must be an object; found ${show(schema)}.`, 'invalid_value');
  }
  return constraint(field, { json: schema }, 'structured_outputs.json', place);
}

/** An error of the engine in the request's own words. */
export function inTermsOf(constraint: Constraint | null, error: unknown): unknown {
  if (!(error instanceof InvalidRequestError) || error.param !== 'structured_outputs' || constraint === null)
    return error;
  const place = constraint.renamed.find(({ engines }) => error.message.startsWith(engines));
  const message =
    place === undefined
      ? error.message.replace('structured_outputs', constraint.field)
      : place.requests + error.message.slice(place.engines.length);
  return new InvalidRequestError(message, place?.param ?? constraint.field);
}

/** The constraint as a sampling parameter. */
export function structured(constraint: Constraint | null): { structuredOutputs?: StructuredOutputs } {
  return constraint === null ? {} : { structuredOutputs: constraint.value };
}
