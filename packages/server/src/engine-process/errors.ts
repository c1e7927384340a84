import {
  ConfigError,
  EngineClosedError,
  EngineError,
  InvalidRequestError,
  type ModelFormatDetails,
  ModelFormatError,
  QueueFullError,
  QuireError,
} from '@quire/core';
import { z } from 'zod';

/** An error as data. */
export const errorSchema = z.object({
  name: z.string(),
  message: z.string(),
  code: z.string().optional(),
  /** Of an InvalidRequestError. */
  param: z.string().nullable().optional(),
  /** Of a ConfigError. */
  option: z.string().nullable().optional(),
  /** Of a ModelFormatError. */
  details: z.record(z.string(), z.unknown()).optional(),
  /** Of what is no QuireError: a defect. */
  stack: z.string().optional(),
});
export type ErrorData = z.infer<typeof errorSchema>;

export function toErrorData(error: unknown): ErrorData {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message } = error;
  if (!(error instanceof QuireError)) return { name, message, ...(error.stack ? { stack: error.stack } : {}) };
  const data = { name, message, code: error.code };
  if (error instanceof InvalidRequestError) return { ...data, param: error.param };
  if (error instanceof ConfigError) return { ...data, option: error.option };
  if (error instanceof ModelFormatError) return { ...data, details: { ...error.details } };
  return data;
}

/** The error that the other end met, of the class that callers know it by. */
export function fromErrorData(data: ErrorData): Error {
  const { name, message, code = 'engine_error' } = data;
  switch (name) {
    case 'InvalidRequestError':
      return new InvalidRequestError(message, data.param ?? null, code);
    case 'ConfigError':
      return new ConfigError(message, data.option ?? null);
    case 'ModelFormatError':
      return withMessage(new ModelFormatError(code, '', data.details as unknown as ModelFormatDetails), message);
    case 'QueueFullError':
      return new QueueFullError(message);
    case 'EngineClosedError':
      return new EngineClosedError(message);
    case 'EngineError':
      return new EngineError(message);
    default:
      return foreign(data);
  }
}

function foreign({ name, message, code, stack }: ErrorData): Error {
  const error = code === undefined ? new Error(message) : new QuireError(code, message);
  Object.defineProperty(error, 'name', { value: name });
  if (stack !== undefined) error.stack = stack;
  return error;
}

/** A ModelFormatError writes its message from the details, which hold no summary. */
function withMessage<E extends Error>(error: E, message: string): E {
  Object.defineProperty(error, 'message', { value: message });
  return error;
}
