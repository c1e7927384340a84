import { type TemplateBudget, TemplateBudgetError } from './budget.ts';
import { isArray, isMapping, isNamespace, isString, type RuntimeValue } from './runtime.ts';

/** How much a value comes to when it is written out. */
export interface Extent {
  readonly values: number;
  readonly characters: number;
  readonly depth: number;
}

const MAX_DEPTH = 64;
const scalar: Extent = { values: 1, characters: 24, depth: 0 };

/**
 * Measures values of a template, shared parts counted as often as they occur: a list that holds one list twice, and so on, is
 * small in memory and exponential on paper. Only namespaces can change, so everything without one is measured once.
 */
export class ValueMeter {
  readonly #budget: TemplateBudget;
  readonly #known = new WeakMap<RuntimeValue, Extent>();

  constructor(budget: TemplateBudget) {
    this.#budget = budget;
  }

  /** Throws TemplateBudgetError when the value is too large. */
  measure(value: RuntimeValue): Extent {
    const { extent } = this.#measure(value, 0);
    this.#budget.checkValues(extent.values);
    this.#budget.checkCharacters(extent.characters - 24 * extent.values);
    return extent;
  }

  #measure(value: RuntimeValue, level: number): { extent: Extent; isConstant: boolean } {
    if (isString(value))
      return { extent: { values: 1, characters: value.value.length + 24, depth: 0 }, isConstant: true };
    if (!isArray(value) && !isMapping(value)) return { extent: scalar, isConstant: true };
    const known = this.#known.get(value);
    if (known !== undefined) return { extent: known, isConstant: true };
    if (level > MAX_DEPTH) throw new TemplateBudgetError(`it nests values deeper than ${MAX_DEPTH} levels`);
    return this.#measureContainer(value, level);
  }

  #measureContainer(value: RuntimeValue, level: number): { extent: Extent; isConstant: boolean } {
    const total = { values: 1, characters: 24, depth: 0 };
    let isConstant = !isNamespace(value);
    const add = (child: RuntimeValue): void => {
      this.#budget.step(1);
      const part = this.#measure(child, level + 1);
      total.values += part.extent.values;
      total.characters += part.extent.characters;
      total.depth = Math.max(total.depth, part.extent.depth + 1);
      isConstant &&= part.isConstant;
      this.#budget.checkValues(total.values);
    };
    if (isArray(value)) for (const item of value.value) add(item);
    if (isMapping(value)) {
      for (const [key, item] of value.value) {
        total.characters += key.length;
        add(item);
      }
    }
    if (isConstant) this.#known.set(value, total);
    return { extent: total, isConstant };
  }
}
