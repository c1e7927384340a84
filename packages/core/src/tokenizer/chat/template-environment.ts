import { InvalidRequestError } from '../../errors.ts';
import { TemplateBudgetError } from './budget.ts';
import type { Marks } from './marks.ts';
import { type Environment, EnvironmentConstructor } from './runtime.ts';
import { strftime } from './strftime.ts';

const MAX_RANGE = 100_000;
const MAX_MESSAGE = 500;

const constants = { true: true, True: true, false: false, False: false, none: null, None: null };

/** Names with a meaning of their own in every template. */
export const builtInNames: readonly string[] = [
  ...Object.keys(constants),
  'range',
  'strftime_now',
  'raise_exception',
  'namespace',
  'loop',
  'caller',
  'varargs',
  'kwargs',
  'self',
];

/** The names that a template can see: constants, three functions, and what it is given. No object of the host is among them. */
export function createEnvironment(variables: ReadonlyMap<string, unknown>, marks: Marks): Environment {
  const environment = new EnvironmentConstructor();
  for (const [name, value] of Object.entries(constants)) environment.set(name, value);
  environment.set('range', range);
  environment.set('strftime_now', (format: unknown) => formatNow(String(format), marks));
  environment.set('raise_exception', (message: unknown) => raise(marks.strip(String(message))));
  for (const [name, value] of variables) environment.set(name, value);
  return environment;
}

/** What a request wrote into the format stays marked. */
function formatNow(format: string, marks: Marks): string {
  const text = strftime(new Date(), marks.strip(format));
  return marks.has(format) ? marks.markResult(text) : text;
}

function raise(message: string): never {
  const text = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}...` : message;
  throw new InvalidRequestError(
    `The model's chat template refuses these messages: ${text}`,
    'messages',
    'chat_template_refused',
  );
}

/** Python's `range`, of bounded length. */
function range(first: unknown, second?: unknown, third?: unknown): number[] {
  const [start, stop] = typeof second === 'number' ? [first, second] : [0, first];
  const step = typeof third === 'number' ? third : 1;
  if (typeof start !== 'number' || typeof stop !== 'number' || ![start, stop, step].every(Number.isInteger))
    throw new TypeError('range() takes integers');
  if (step === 0) throw new RangeError('range() step must not be zero');
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > MAX_RANGE)
    throw new TemplateBudgetError(`it counts over a range of ${length}; at most ${MAX_RANGE} are allowed`);
  return Array.from({ length }, (_, i) => start + i * step);
}
