import type { TemplateBudget } from './budget.ts';
import type { ValueMeter } from './measure.ts';
import { isArray, isMapping, isString, type RuntimeValue } from './runtime.ts';

/** Arguments of a filter or method: by position, and by name. */
export interface CallArguments {
  readonly positional: readonly RuntimeValue[];
  readonly named: ReadonlyMap<string, RuntimeValue>;
}

/**
 * Refuses the operations whose result can be the product of the sizes of their operands before they start; all others are linear,
 * and their result is measured afterwards.
 */
export class OperationGuard {
  readonly #budget: TemplateBudget;
  readonly #meter: ValueMeter;

  constructor(budget: TemplateBudget, meter: ValueMeter) {
    this.#budget = budget;
    this.#meter = meter;
  }

  check(operation: string, operand: RuntimeValue, args: CallArguments): void {
    this.#budget.checkTransient(this.#transientLength(operation, operand, args));
  }

  /** The most text that an operation can make of its operands, 0 for those that are linear. */
  #transientLength(operation: string, operand: RuntimeValue, { positional, named }: CallArguments): number {
    switch (operation) {
      case 'replace':
        return replaceLength(textLength(operand), textLength(positional[0]), textLength(positional[1]));
      case 'join':
        return this.#joinLength(operand, textLength(positional[0] ?? named.get('separator')));
      case 'indent':
        return (textLength(operand) + 1) * (numberOf(positional[0] ?? named.get('width')) + 1);
      case 'tojson':
        return this.#jsonLength(operand, numberOf(named.get('indent')), separatorLength(named.get('separators')));
      default:
        return 0;
    }
  }

  #joinLength(operand: RuntimeValue, separator: number): number {
    const count = isArray(operand) ? operand.value.length : textLength(operand);
    return this.#meter.measure(operand).characters + count * separator;
  }

  #jsonLength(operand: RuntimeValue, indent: number, separators: number): number {
    const { values, characters, depth } = this.#meter.measure(operand);
    // An escaped character takes at most six.
    return 6 * characters + values * ((depth + 1) * indent + separators);
  }
}

function replaceLength(length: number, pattern: number, replacement: number): number {
  const places = pattern === 0 ? length + 1 : Math.floor(length / pattern);
  return length + places * replacement;
}

function textLength(value: RuntimeValue | undefined): number {
  return value !== undefined && isString(value) ? value.value.length : 0;
}

function numberOf(value: RuntimeValue | undefined): number {
  return value !== undefined && typeof value.value === 'number' ? Math.max(0, value.value) : 0;
}

function separatorLength(value: RuntimeValue | undefined): number {
  if (value === undefined || !isArray(value)) return 0;
  return value.value.reduce((sum, item) => sum + textLength(item), 0);
}

/** Named arguments of a method call come last, in one mapping. */
export function splitArguments(args: readonly RuntimeValue[]): CallArguments {
  const last = args.at(-1);
  if (last?.type !== 'KeywordArgumentsValue' || !isMapping(last)) return { positional: args, named: new Map() };
  return { positional: args.slice(0, -1), named: last.value };
}
