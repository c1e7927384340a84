import { createHash, timingSafeEqual } from 'node:crypto';
import { ConfigError } from '@quire/core';
import { HttpError } from '../http/errors.ts';

/** Checks keys of clients. Only digests are kept, and compared in constant time. */
export class ApiKeys {
  readonly #digests: readonly Buffer[];

  /** Throws ConfigError for a key that no header can carry; the message does not hold it. */
  constructor(keys: readonly string[]) {
    for (const key of keys) {
      if (/^[\x21-\x7e]+$/.test(key)) continue;
      const found = key === '' ? 'is empty' : 'holds spaces or characters beyond ASCII';
      throw new ConfigError(`apiKey ${found}: no client could send it.`, 'apiKey');
    }
    this.#digests = keys.map(digest);
  }

  get required(): boolean {
    return this.#digests.length > 0;
  }

  /**
   * `header`: reads one of the request. The key is in `Authorization: Bearer KEY`, or in `x-api-key`, as Anthropic's clients send
   * it. Throws HttpError 401 unless it is one of the keys, or none is configured.
   */
  check(header: (name: string) => string | undefined): void {
    if (!this.required) return;
    const [scheme = '', key = ''] = (header('authorization') ?? '').split(' ', 2);
    const given = digest(scheme.toLowerCase() === 'bearer' ? key : (header('x-api-key') ?? ''));
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
