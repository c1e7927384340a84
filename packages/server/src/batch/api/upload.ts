import { pipeline } from 'node:stream/promises';
import busboy from 'busboy';
import { bodyTooLarge } from '../../http/body.ts';
import { HttpError, invalidField } from '../../http/errors.ts';
import type { AppRequest } from '../../http/request.ts';
import { type FileStore, type NewFile, newFile, type StoredFile } from './file-store.ts';

const PURPOSES = ['batch', 'user_data'];
/** OpenAI's bounds: an hour to 30 days. */
const EXPIRY_SECONDS = [3600, 2_592_000] as const;

/** What a form held besides the contents of its file. */
interface Form {
  readonly fields: ReadonlyMap<string, string>;
  readonly filename: string;
}

/**
 * Stores the file of a multipart form as it comes in. Throws HttpError 400 that names the field, 413 as soon as more than
 * `maxBytes` of the file were read, 415 for another content type; nothing is left then.
 */
export async function receiveUpload(request: AppRequest, files: FileStore, maxBytes: number): Promise<StoredFile> {
  const contentType = request.header('content-type') ?? '';
  if (!contentType.toLowerCase().startsWith('multipart/form-data')) {
    throw new HttpError(415, 'The Content-Type must be multipart/form-data.', { code: 'unsupported_media_type' });
  }
  const { id } = newFile('', '');
  try {
    const form = await receiveForm(request, contentType, maxBytes, contents => files.receive(id, contents));
    return await files.register({ ...readForm(form), id });
  } catch (error) {
    await files.discard(id);
    throw error;
  }
}

async function receiveForm(
  request: AppRequest,
  contentType: string,
  maxBytes: number,
  store: (contents: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<Form> {
  const fields = new Map<string, string>();
  let stored: { filename: string; done: Promise<void> } | null = null;
  const parser = openParser(contentType, maxBytes);
  parser.on('field', (name, value) => fields.set(name, value));
  parser.on('file', (name, contents, { filename }) => {
    contents.on('limit', () => parser.destroy(bodyTooLarge(maxBytes)));
    if (name !== 'file') {
      contents.resume();
      return;
    }
    const done = store(contents);
    // A form that nobody can store is not read to its end.
    done.catch((error: Error) => parser.destroy(error));
    stored = { filename: filename ?? '', done };
  });
  try {
    await pipeline(request.chunks(), parser);
    if (stored === null) throw invalidField('file', 'file is missing: send the contents as a part of that name.');
    const { filename, done } = stored as { filename: string; done: Promise<void> };
    await done;
    return { fields, filename };
  } catch (error) {
    throw formError(error);
  }
}

function openParser(contentType: string, maxBytes: number): busboy.Busboy {
  // One more than may come tells a file of exactly the limit from a larger one.
  const limits = { files: 1, fields: 16, fieldSize: 4096, fileSize: maxBytes + 1, headerPairs: 32 };
  try {
    return busboy({ headers: { 'content-type': contentType }, limits });
  } catch (error) {
    throw formError(error);
  }
}

/** The parser's errors are of the client's making. */
function formError(error: unknown): unknown {
  if (error instanceof HttpError || (error as NodeJS.ErrnoException).syscall !== undefined) return error;
  return new HttpError(400, `The form cannot be read: ${(error as Error).message}.`, {
    code: 'invalid_form',
    cause: error,
  });
}

/** Throws HttpError 400 that names the field. */
function readForm({ fields, filename }: Form): Omit<NewFile, 'id'> {
  const purpose = fields.get('purpose');
  if (purpose === undefined || !PURPOSES.includes(purpose)) {
    throw invalidField('purpose', `purpose must be one of ${PURPOSES.join(', ')}.`, 'invalid_value');
  }
  return { filename: printable(filename), purpose, expiresAfter: expiryOf(fields) };
}

function expiryOf(fields: ReadonlyMap<string, string>): number | null {
  const [anchor, seconds] = [fields.get('expires_after[anchor]'), fields.get('expires_after[seconds]')];
  if (anchor === undefined && seconds === undefined) return null;
  if (anchor !== 'created_at') {
    throw invalidField('expires_after.anchor', 'expires_after.anchor must be created_at.', 'invalid_value');
  }
  const [least, most] = EXPIRY_SECONDS;
  const value = Number(seconds);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  const message = `expires_after.seconds must be an integer from ${least} to ${most}.`;
  throw invalidField('expires_after.seconds', message, 'invalid_value');
}

/** Shown again, never used as a name on this machine. */
function printable(filename: string): string {
  return filename.replace(/[\p{Cc}/\\]/gu, '_').slice(0, 255) || 'upload';
}
