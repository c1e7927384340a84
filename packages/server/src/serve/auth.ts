import { createHash, timingSafeEqual } from 'node:crypto';
import { HttpError } from '../http/errors.ts';

/** Checks bearer keys. Only digests are kept, and compared in constant time. */
export class ApiKeys {
  readonly #digests: readonly Buffer[];

  constructor(keys: readonly string[]) {
    this.#digests = keys.map(digest);
  }

  get required(): boolean {
    return this.#digests.length > 0;
  }

  /** `authorization`: the header. Throws HttpError 401 unless it holds one of the keys, or none is configured. */
  check(authorization: string | undefined): void {
    if (!this.required) return;
    const [scheme = '', key = ''] = (authorization ?? '').split(' ', 2);
    const given = digest(scheme.toLowerCase() === 'bearer' ? key : '');
    let known = false;
    for (const expected of this.#digests) known = timingSafeEqual(given, expected) || known;
    if (known) return;
    throw new HttpError(401, 'A valid API key is needed: send it as "Authorization: Bearer KEY".', {
      type: 'authentication_error',
      code: 'invalid_api_key',
      headers: { 'www-authenticate': 'Bearer' },
    });
  }
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
