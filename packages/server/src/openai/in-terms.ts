import { HttpError, toHttpError } from '../http/errors.ts';
import type { Reply } from '../http/reply.ts';

/** Runs what is made of a chat request under another API, whose errors then name the fields of that API. */
export async function inTermsOfApi(
  /** Fields of chat, and what the API calls them. */
  renamed: Readonly<Record<string, string>>,
  answer: () => Promise<Reply>,
): Promise<Reply> {
  try {
    return await answer();
  } catch (error) {
    const { status, type, message, param, code, headers } = toHttpError(error);
    const name = param !== null && Object.hasOwn(renamed, param) ? renamed[param] : undefined;
    if (param === null || name === undefined) throw error;
    const details = { type, param: name, code, headers, cause: error };
    throw new HttpError(status, message.replaceAll(param, name), details);
  }
}
