/** Errors that a caller can act on. Every message says what was found, what was expected and what to do. */

/** Base of all errors that Quire throws on purpose. `code` is stable. */
export class QuireError extends Error {
  override readonly name: string = 'QuireError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A request that cannot be served as asked: HTTP 400. `param` names the field. */
export class InvalidRequestError extends QuireError {
  override readonly name = 'InvalidRequestError';
  readonly param: string | null;
  constructor(message: string, param: string | null = null, code = 'invalid_request') {
    super(code, message);
    this.param = param;
  }
}

/** An engine option that is unknown, out of range, or cannot be honoured on this device. `option` names it. */
export class ConfigError extends QuireError {
  override readonly name = 'ConfigError';
  readonly option: string | null;
  constructor(message: string, option: string | null = null) {
    super('invalid_config', message);
    this.option = option;
  }
}

/** Too much waits already, and the request was not looked at: HTTP 429. Try again later. */
export class QueueFullError extends QuireError {
  override readonly name = 'QueueFullError';
  constructor(message: string) {
    super('queue_full', message);
  }
}

/** A request that the engine gave up after admission (non-finite logits, device failure): HTTP 500. */
export class EngineError extends QuireError {
  override readonly name = 'EngineError';
  constructor(message: string, options?: ErrorOptions) {
    super('engine_error', message, options);
  }
}

/** The engine was disposed or is shutting down: HTTP 503. */
export class EngineClosedError extends QuireError {
  override readonly name = 'EngineClosedError';
  constructor(message = 'The engine is closed. Open a new one to send requests.') {
    super('engine_closed', message);
  }
}

/** Where and how a model folder is wrong. */
export interface ModelFormatDetails {
  /** File name relative to the model folder. */
  file: string;
  tensor?: string;
  /** Field of a JSON file, such as `rope_scaling.factor`. */
  field?: string;
  /** Byte offset in the file. */
  offset?: number;
  found?: string;
  expected?: string;
  advice?: string;
}

/** A file of a model folder is missing, malformed or not supported. Codes are listed in docs/model-format-errors.md. */
export class ModelFormatError extends QuireError {
  override readonly name = 'ModelFormatError';
  readonly details: Readonly<ModelFormatDetails>;
  constructor(code: string, summary: string, details: ModelFormatDetails) {
    super(code, describe(summary, details));
    this.details = details;
  }
}

function describe(summary: string, d: ModelFormatDetails): string {
  const where = [
    d.file,
    d.tensor && `tensor ${d.tensor}`,
    d.field && `field ${d.field}`,
    d.offset !== undefined && `byte ${d.offset}`,
  ];
  const parts = [`${where.filter(Boolean).join(', ')}: ${summary}.`];
  if (d.found !== undefined) parts.push(`Found ${d.found}.`);
  if (d.expected !== undefined) parts.push(`Expected ${d.expected}.`);
  if (d.advice !== undefined) parts.push(d.advice);
  return parts.join(' ');
}
