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
    switch (operation) {
      case 'replace':
        return this.#checkReplace(operand, args);
      case 'join':
        return this.#checkJoin(operand, textLength(args.positional[0] ?? args.named.get('separator')));
      case 'indent':
        return this.#checkIndent(operand, numberOf(args.positional[0] ?? args.named.get('width')));
      case 'tojson':
        return this.#checkJson(
          operand,
          numberOf(args.named.get('indent')),
          separatorLength(args.named.get('separators')),
        );
    }
  }

  #checkReplace(operand: RuntimeValue, args: CallArguments): void {
    const length = textLength(operand);
    const pattern = textLength(args.positional[0]);
    const places = pattern === 0 ? length + 1 : Math.floor(length / pattern);
    this.#budget.checkTransient(length + places * textLength(args.positional[1]));
  }

  #checkJoin(operand: RuntimeValue, separator: number): void {
    const count = isArray(operand) ? operand.value.length : textLength(operand);
    this.#budget.checkTransient(this.#meter.measure(operand).characters + count * separator);
  }

  #checkIndent(operand: RuntimeValue, width: number): void {
    this.#budget.checkTransient((textLength(operand) + 1) * (width + 1));
  }

  #checkJson(operand: RuntimeValue, indent: number, separators: number): void {
    const { values, characters, depth } = this.#meter.measure(operand);
    // An escaped character takes at most six.
    this.#budget.checkTransient(6 * characters + values * ((depth + 1) * indent + separators));
  }
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
