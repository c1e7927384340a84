import { invalidField } from '../../http/errors.ts';

/** `after` and `limit` of a list. Throws HttpError 400 that names the one at fault. */
export function pageQuery(query: URLSearchParams, maxLimit: number): { after: string | null; limit: number } {
  const text = query.get('limit') ?? '20';
  const limit = Number(text);
  if (!/^\d+$/.test(text) || limit < 1 || limit > maxLimit) {
    throw invalidField('limit', `limit must be an integer from 1 to ${maxLimit}.`, 'invalid_value');
  }
  return { after: query.get('after'), limit };
}
