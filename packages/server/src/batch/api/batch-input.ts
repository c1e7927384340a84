import type { LineError } from '../batch-error.ts';
import { IdTable } from '../id-table.ts';
import { isBlank, readLines } from '../read-lines.ts';
import { type BatchRequest, isBad, parseRequestLine } from '../request-line.ts';

/** Errors that a batch that is refused tells. */
const MAX_ERRORS = 100;

/** Requests of the file, and what is wrong with it: OpenAI refuses a batch for one bad line. */
export async function checkInput(path: string, endpoint: string): Promise<{ total: number; errors: LineError[] }> {
  const ids = new IdTable();
  const errors: LineError[] = [];
  let total = 0;
  for await (const line of readLines(path)) {
    if (isBlank(line)) continue;
    total++;
    const request = parseRequestLine(line, endpoint);
    const error = isBad(request) ? request.error : duplicate(request, ids);
    if (error !== null) errors.push(error);
    if (errors.length === MAX_ERRORS) break;
  }
  if (total === 0) errors.push({ code: 'empty_file', message: 'The input file has no line.', param: null, line: null });
  return { total, errors };
}

function duplicate({ customId, line }: BatchRequest, ids: IdTable): LineError | null {
  const before = ids.add(customId, line);
  if (before === null) return null;
  const message = `Line ${line} has the custom_id of line ${before}.`;
  return { code: 'duplicate_custom_id', message, param: 'custom_id', line };
}
