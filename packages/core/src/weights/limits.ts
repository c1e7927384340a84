import { ModelFormatError } from '../errors.ts';
import { quote } from './json-scan.ts';

/** Tensors of one checkpoint. The largest published models have about 100,000, over many files. */
export const MAX_TENSORS = 200_000;
/** Tensors of one file. */
export const MAX_FILE_TENSORS = 100_000;
/** Bytes of a tensor's name. */
export const MAX_NAME_BYTES = 1024;
/** Bytes of all names of one file together: what keeps a hostile header from filling the memory. */
export const MAX_ALL_NAMES_BYTES = 16 * 1024 * 1024;
export const MAX_RANK = 8;

/** Counts tensors and the length of their names; throws ModelFormatError with `code` beyond `maxTensors` or the limit above. */
export class NameBudget {
  readonly #file: string;
  readonly #code: string;
  readonly #maxTensors: number;
  #tensors = 0;
  #characters = 0;
  constructor(file: string, code: string, maxTensors: number) {
    this.#file = file;
    this.#code = code;
    this.#maxTensors = maxTensors;
  }

  add(name: string): void {
    this.#tensors++;
    this.#characters += name.length;
    if (this.#tensors > this.#maxTensors)
      this.#fail(`more tensors, the next being ${quote(name)}`, `at most ${this.#maxTensors} tensors`);
    if (this.#characters > MAX_ALL_NAMES_BYTES)
      this.#fail('longer names', `names of at most ${MAX_ALL_NAMES_BYTES} characters together`);
  }

  #fail(found: string, expected: string): never {
    throw new ModelFormatError(this.#code, 'this is larger than any real model needs', {
      file: this.#file,
      found,
      expected,
    });
  }
}
