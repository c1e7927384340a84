import type { TemplateBudget } from './budget.ts';
import { ValueMeter } from './measure.ts';
import { type CallArguments, OperationGuard, splitArguments } from './operation-guard.ts';
import type { Provenance, StripLevel } from './provenance.ts';
import {
  type Callable,
  type Environment,
  InterpreterConstructor,
  isArray,
  isFunction,
  isMapping,
  isNamespace,
  isString,
  lookUp,
  makeFunction,
  makeString,
  type RuntimeValue,
  type Statement,
  type StringValue,
  ValueNode,
} from './runtime.ts';

// The nodes of the library that need care, as its parser makes them.
type Node<Type extends string, Fields> = { readonly type: Type } & Readonly<Fields>;
type Named = { readonly type: string; readonly value: string };
type Call = Node<'CallExpression', { callee: Named; args: readonly Statement[] }>;
type Filter = Node<'Identifier', { value: string }> | Call;
type KeywordArgument = Node<'KeywordArgumentExpression', { key: Named; value: Statement }>;
type CareNode =
  | Node<'Identifier', { value: string }>
  | Node<'For', { iterable: Statement }>
  | Node<'BinaryExpression', { operator: { value: string }; left: Statement; right: Statement }>
  | Node<'TestExpression', { operand: Statement }>
  | Node<'MemberExpression', { object: Statement; property: Statement; computed: boolean }>
  | Node<'ObjectLiteral', { value: ReadonlyMap<Statement, Statement> }>
  | Node<'FilterExpression', { operand: Statement; filter: Filter }>
  | Node<'FilterStatement', { filter: Filter; body: readonly Statement[] }>;
type NodeOf<Type extends CareNode['type']> = Extract<CareNode, { type: Type }>;

/** Filters that move values without looking into strings: marks stay in place. */
const transparentFilters: ReadonlySet<string> = new Set([
  'default',
  'safe',
  'list',
  'first',
  'last',
  'reverse',
  'items',
  'map',
  'string',
]);
/** Operators for which marks stay in place, or that do not look at their operands. */
const transparentOperators: ReadonlySet<string> = new Set(['+', '~', 'and', 'or']);
/** Steps that the library takes per turn of a loop whatever the body does. */
const STEPS_PER_TURN = 8;

/** The library's interpreter under a budget, which also follows which text comes from the request (see Marks). */
export class GuardedInterpreter extends InterpreterConstructor {
  readonly #budget: TemplateBudget;
  readonly #meter: ValueMeter;
  readonly #guard: OperationGuard;
  readonly #provenance: Provenance;

  constructor(environment: Environment, budget: TemplateBudget, provenance: Provenance) {
    super(environment);
    this.#budget = budget;
    this.#meter = new ValueMeter(budget);
    this.#guard = new OperationGuard(budget, this.#meter);
    this.#provenance = provenance;
  }

  override evaluate(statement: Statement | undefined, environment: Environment): RuntimeValue {
    if (statement instanceof ValueNode) return statement.value;
    this.#budget.enter();
    try {
      const value =
        statement === undefined ? super.evaluate(statement, environment) : this.#evaluateNode(statement, environment);
      if (isString(value)) this.#budget.checkCharacters(value.value.length);
      else if (isArray(value) || isMapping(value)) this.#meter.measure(value);
      return value;
    } finally {
      this.#budget.leave();
    }
  }

  #evaluateNode(statement: Statement, environment: Environment): RuntimeValue {
    const node = statement as CareNode;
    switch (node.type) {
      case 'Identifier':
        return lookUp(node.value, environment);
      case 'For':
        return this.#evaluateFor(node, environment);
      case 'BinaryExpression':
        return this.#evaluateBinary(node, environment);
      case 'TestExpression':
        return super.evaluate(
          { ...node, operand: this.#plain(node.operand, environment, 'string') } as Statement,
          environment,
        );
      case 'MemberExpression':
        return this.#evaluateMember(node, environment);
      case 'ObjectLiteral':
        return this.#evaluateObject(node, environment);
      case 'FilterExpression':
        return this.#evaluateFilter(this.evaluate(node.operand, environment), node.filter, environment);
      case 'FilterStatement':
        return this.#evaluateFilter(this.evaluate(program(node.body), environment), node.filter, environment);
      default:
        return super.evaluate(statement, environment);
    }
  }

  /** The value of a node without marks, as a node. */
  #plain(statement: Statement, environment: Environment, level: StripLevel): ValueNode {
    const value = this.evaluate(statement, environment);
    if (isString(value)) this.#budget.stepOver(value.value.length);
    return new ValueNode(this.#provenance.strip(value, level).value);
  }

  #evaluateFor(node: NodeOf<'For'>, environment: Environment): RuntimeValue {
    const select = node.iterable.type === 'SelectExpression' ? (node.iterable as Statement & { lhs: Statement }) : null;
    const iterable = this.evaluate(select === null ? node.iterable : select.lhs, environment);
    if (isArray(iterable)) this.#budget.step(STEPS_PER_TURN * iterable.value.length);
    if (isMapping(iterable)) this.#budget.step(STEPS_PER_TURN * iterable.value.size);
    const value = new ValueNode(iterable);
    return super.evaluate(
      { ...node, iterable: select === null ? value : { ...select, lhs: value } } as Statement,
      environment,
    );
  }

  #evaluateBinary(node: NodeOf<'BinaryExpression'>, environment: Environment): RuntimeValue {
    const operator = node.operator.value;
    if (transparentOperators.has(operator)) return super.evaluate(node, environment);
    const left = this.#plain(node.left, environment, 'string');
    const right = this.#plain(node.right, environment, operator.endsWith('in') ? 'items' : 'string');
    return super.evaluate({ ...node, left: this.#keyNode(right.value, left), right } as Statement, environment);
  }

  #evaluateObject(node: NodeOf<'ObjectLiteral'>, environment: Environment): RuntimeValue {
    const entries = [...node.value].map(([key, value]) => [this.#newKey(key, environment), value] as const);
    return super.evaluate({ ...node, value: new Map<Statement, Statement>(entries) } as Statement, environment);
  }

  /** A key that came from the request stays marked. */
  #newKey(node: Statement, environment: Environment): ValueNode {
    const { value, wasMarked } = this.#provenance.strip(this.evaluate(node, environment), 'string');
    return new ValueNode(
      wasMarked && isString(value) ? makeString(this.#provenance.marks.markKey(value.value)) : value,
    );
  }

  /** The key under which a mapping has what is looked up in it. */
  #keyNode(mapping: RuntimeValue, key: ValueNode): ValueNode {
    if (!isMapping(mapping) || !isString(key.value)) return key;
    return new ValueNode(makeString(this.#provenance.marks.keyIn(mapping.value, key.value.value)));
  }

  // ---------------------------------------------------------------------------------------------------------- members

  #evaluateMember(node: NodeOf<'MemberExpression'>, environment: Environment): RuntimeValue {
    const marked = this.evaluate(node.object, environment);
    if (isString(marked)) this.#budget.stepOver(2 * marked.value.length);
    const { value: object, wasMarked } = this.#provenance.strip(marked, 'string');
    const isKey = node.computed && node.property.type !== 'SliceExpression';
    const property = isKey ? this.#keyNode(object, this.#plain(node.property, environment, 'string')) : node.property;
    const value = super.evaluate({ ...node, object: new ValueNode(object), property } as Statement, environment);
    if (!isFunction(value)) return wasMarked ? this.#provenance.markResult(value) : value;
    const name = propertyName(property);
    if (isString(object) && isString(marked)) return this.#stringMethod(name, value.value, object, marked);
    return isMapping(object) && !isNamespace(object) && name === 'get' && !object.value.has('get')
      ? this.#keyedMethod(object, value.value)
      : value;
  }

  /** A method of a string: called without marks, and what it returns is marked if the string or an argument was. */
  #stringMethod(name: string, method: Callable, object: StringValue, marked: StringValue): RuntimeValue {
    const { marks } = this.#provenance;
    const objectIsMarked = marks.has(marked.value);
    const sides = trimmedSides(name);
    return makeFunction((args, scope) => {
      const plain = args.map(arg => this.#provenance.strip(arg, 'deep'));
      const values = plain.map(arg => arg.value);
      // The library strips white space whatever the argument.
      if (sides !== null) return makeString(marks.trim(marked.value, sides.left, sides.right, charsOf(values[0])));
      this.#guard.check(name, object, splitArguments(values));
      const result = method(values, scope);
      return objectIsMarked || plain.some(arg => arg.wasMarked) ? this.#provenance.markResult(result) : result;
    });
  }

  /** `mapping.get(key, default)`. */
  #keyedMethod(mapping: RuntimeValue, method: Callable): RuntimeValue {
    return makeFunction(([key, ...rest], scope) => {
      if (key === undefined) return method([], scope);
      const plain = new ValueNode(this.#provenance.strip(key, 'string').value);
      return method([this.#keyNode(mapping, plain).value, ...rest], scope);
    });
  }

  // ---------------------------------------------------------------------------------------------------------- filters

  #evaluateFilter(operand: RuntimeValue, filter: Filter, environment: Environment): RuntimeValue {
    const name = isCall(filter) ? filter.callee.value : filter.value;
    if (isString(operand)) this.#budget.stepOver(2 * operand.value.length);
    if (name === 'trim' && isString(operand) && !isCall(filter)) {
      return makeString(this.#provenance.marks.trim(operand.value, true, true));
    }
    const keepsMarks = transparentFilters.has(name) || (name === 'join' && isArray(operand));
    const plain = keepsMarks ? { value: operand, wasMarked: false } : this.#provenance.strip(operand, 'deep');
    const call = this.#evaluateArguments(filter, keepsMarks, environment);
    this.#guard.check(name, plain.value, call);
    const node = { type: 'FilterExpression', operand: new ValueNode(plain.value), filter: call.filter };
    const result = super.evaluate(node as Statement, environment);
    return plain.wasMarked || call.wereMarked ? this.#provenance.markResult(result) : result;
  }

  /** A filter with its arguments evaluated. String literals stay: some filters insist on them. */
  #evaluateArguments(filter: Filter, keepsMarks: boolean, environment: Environment): EvaluatedCall {
    const call: EvaluatedCall = { filter, positional: [], named: new Map(), wereMarked: false };
    if (!isCall(filter)) return call;
    const evaluate = (argument: Statement): RuntimeValue => {
      const value = this.evaluate(argument, environment);
      const plain = keepsMarks ? { value, wasMarked: false } : this.#provenance.strip(value, 'deep');
      call.wereMarked ||= plain.wasMarked;
      return plain.value;
    };
    const args = filter.args.map(argument => evaluateArgument(argument, call, evaluate));
    call.filter = { ...filter, args };
    return call;
  }
}

interface EvaluatedCall extends CallArguments {
  filter: Filter;
  readonly positional: RuntimeValue[];
  readonly named: Map<string, RuntimeValue>;
  /** Some argument came from the request. */
  wereMarked: boolean;
}

function evaluateArgument(
  argument: Statement,
  call: EvaluatedCall,
  evaluate: (argument: Statement) => RuntimeValue,
): Statement {
  if (argument.type === 'KeywordArgumentExpression') {
    const keyword = argument as KeywordArgument;
    const value = evaluate(keyword.value);
    call.named.set(keyword.key.value, value);
    return { ...keyword, value: new ValueNode(value) } as Statement;
  }
  if (argument.type.endsWith('SpreadExpression')) throw new SyntaxError('a filter takes no * or ** arguments');
  const value = evaluate(argument);
  call.positional.push(value);
  return argument.type === 'StringLiteral' ? argument : new ValueNode(value);
}

function isCall(filter: Filter): filter is Call {
  return filter.type === 'CallExpression';
}

function program(body: readonly Statement[]): Statement {
  return { type: 'Program', body } as Statement;
}

function propertyName(property: Statement): string {
  return String(property instanceof ValueNode ? property.value.value : (property as Named).value);
}

/** The characters that a call of `strip` names; null: white space. */
function charsOf(argument: RuntimeValue | undefined): string | null {
  return argument !== undefined && isString(argument) ? argument.value : null;
}

/** The ends that a string method trims, or null for other methods. */
function trimmedSides(name: string): { left: boolean; right: boolean } | null {
  if (name !== 'strip' && name !== 'lstrip' && name !== 'rstrip') return null;
  return { left: name !== 'rstrip', right: name !== 'lstrip' };
}
