import { HttpError } from './errors.ts';
import type { AppRequest } from './request.ts';

/** Deeper JSON is refused before anything walks it: JSON.stringify and structuredClone recurse. */
const MAX_JSON_DEPTH = 64;

/**
 * The JSON object in the body of a request.
 *
 * Throws HttpError 415 for another content type or an encoded body, 413 as soon as more than `maxBytes` were announced or
 * read, and 400 for invalid UTF-8, invalid JSON, nesting deeper than 64, or a value that is not an object.
 */
export async function readJsonBody(request: AppRequest, maxBytes: number): Promise<Record<string, unknown>> {
  checkMediaType(request);
  const text = decodeUtf8(await request.body(maxBytes));
  checkDepth(text);
  const value = parseJson(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new HttpError(400, 'The body must be a JSON object.', { code: 'invalid_json' });
  }
  return value as Record<string, unknown>;
}

function checkMediaType(request: AppRequest): void {
  const encoding = request.header('content-encoding');
  if (encoding !== undefined && encoding !== 'identity') {
    throw new HttpError(415, 'Content-Encoding is not supported: send the body as it is.', {
      code: 'unsupported_encoding',
    });
  }
  const [type = '', ...parameters] = (request.header('content-type') ?? '').toLowerCase().split(';');
  if (type.trim() !== 'application/json') {
    throw new HttpError(415, 'The Content-Type must be application/json.', { code: 'unsupported_media_type' });
  }
  const charset = parameters.map(p => p.trim()).find(p => p.startsWith('charset='));
  if (charset !== undefined && !/^charset="?utf-?8"?$/.test(charset)) {
    throw new HttpError(415, 'The charset must be utf-8.', { code: 'unsupported_media_type' });
  }
}

/** The refusal of a body that is larger than the server takes. */
export function bodyTooLarge(maxBytes: number): HttpError {
  return new HttpError(413, `The body is larger than ${maxBytes} bytes.`, { code: 'body_too_large' });
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new HttpError(400, 'The body is not valid UTF-8.', { code: 'invalid_utf8', cause });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = (cause as SyntaxError).message.slice(0, 200);
    throw new HttpError(400, `The body is not valid JSON: ${reason}`, { code: 'invalid_json', cause });
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Brackets open at once, outside strings. Text that is not JSON is left to JSON.parse. */
function checkDepth(text: string): void {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (inString) {
      if (c === BACKSLASH) i++;
      else if (c === QUOTE) inString = false;
    } else if (c === QUOTE) {
      inString = true;
    } else if (c === 0x7b || c === 0x5b) {
      depth++;
      if (depth > MAX_JSON_DEPTH) {
        throw new HttpError(400, `The JSON is nested deeper than ${MAX_JSON_DEPTH} levels.`, { code: 'json_too_deep' });
      }
    } else if (c === 0x7d || c === 0x5d) {
      depth--;
    }
  }
}
