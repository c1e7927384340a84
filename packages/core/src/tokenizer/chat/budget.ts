/**
 * What one run of a template may cost. Steps are the budget proper: about a microsecond each, so a quarter of a second. The clock
 * only catches what they miss, and is set so that no ordinary request fails because the machine is busy.
 */
const BASE_STEPS = 250_000;
const STEPS_PER_MESSAGE = 200;
const MAX_MILLISECONDS = 2000;
const MAX_DEPTH = 480;
/** Values in one list or mapping, nested ones included. */
const MAX_VALUES = 100_000;
const BASE_CHARACTERS = 64 * 1024;
const BASE_TRANSIENT = 16 * 1024 * 1024;
const CLOCK_INTERVAL = 128;
const CHARACTERS_PER_STEP = 512;

/** A template that does more than any real template does. */
export class TemplateBudgetError extends Error {
  override readonly name = 'TemplateBudgetError';
}

/** Counts what a template does and throws TemplateBudgetError when it is too much. */
export class TemplateBudget {
  /** Longest string, in UTF-16 code units. */
  readonly maxCharacters: number;
  readonly #maxSteps: number;
  readonly #deadline: number;
  #steps = 0;
  #nextClock = CLOCK_INTERVAL;
  #depth = 0;

  /** `inputCharacters`: length of the template and of all text that it is given. */
  constructor(inputCharacters: number, messages: number) {
    this.#maxSteps = BASE_STEPS + STEPS_PER_MESSAGE * messages;
    this.maxCharacters = BASE_CHARACTERS + 4 * inputCharacters;
    this.#deadline = Date.now() + MAX_MILLISECONDS;
  }

  enter(): void {
    this.step(1);
    if (++this.#depth > MAX_DEPTH) throw new TemplateBudgetError(`it nests deeper than ${MAX_DEPTH} levels`);
  }

  leave(): void {
    this.#depth--;
  }

  step(count: number): void {
    this.#steps += count;
    if (this.#steps > this.#maxSteps) throw new TemplateBudgetError(`it takes more than ${this.#maxSteps} steps`);
    if (this.#steps < this.#nextClock) return;
    this.#nextClock = this.#steps + CLOCK_INTERVAL;
    if (Date.now() > this.#deadline) throw new TemplateBudgetError(`it takes longer than ${MAX_MILLISECONDS} ms`);
  }

  /** For work that grows with the length of a text. */
  stepOver(characters: number): void {
    this.step(Math.floor(characters / CHARACTERS_PER_STEP));
  }

  checkCharacters(length: number): void {
    if (length > this.maxCharacters)
      throw new TemplateBudgetError(`it makes more than ${this.maxCharacters} characters of text`);
  }

  checkValues(count: number): void {
    if (count > MAX_VALUES) throw new TemplateBudgetError(`it makes a list of more than ${MAX_VALUES} values`);
  }

  /** Text that exists while one operation runs, estimated from above before the operation starts. */
  checkTransient(length: number): void {
    if (!(length <= BASE_TRANSIENT + 4 * this.maxCharacters))
      throw new TemplateBudgetError('one of its operations makes too much text');
  }
}
