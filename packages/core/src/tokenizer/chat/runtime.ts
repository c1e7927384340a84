import * as library from '@huggingface/jinja';

/** A node of a template's syntax tree. */
export interface Statement {
  readonly type: string;
}

/** A value while a template runs. */
export interface RuntimeValue {
  readonly type: string;
  readonly value: unknown;
}

/** A scope. `set` takes plain JavaScript values and functions, and returns what they become. */
export interface Environment {
  readonly parent?: Environment;
  readonly variables: ReadonlyMap<string, RuntimeValue>;
  set(name: string, value: unknown): RuntimeValue;
}

/** Evaluates syntax trees; all evaluation of a part goes through `evaluate`, so a subclass sees every step. */
export interface Interpreter {
  run(program: Statement): RuntimeValue;
  evaluate(statement: Statement | undefined, environment: Environment): RuntimeValue;
}

/** The parts of @huggingface/jinja that are used. (Its own declarations cannot be resolved under NodeNext.) */
interface JinjaLibrary {
  Environment: new () => Environment;
  Interpreter: new (environment: Environment) => Interpreter;
  tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown[];
  parse(tokens: unknown[]): Statement;
}

const {
  Environment: EnvironmentConstructor,
  Interpreter: InterpreterConstructor,
  tokenize,
  parse,
} = library as unknown as JinjaLibrary;

export { EnvironmentConstructor, InterpreterConstructor, parse, tokenize };

export interface StringValue extends RuntimeValue {
  readonly value: string;
}
export interface ArrayValue extends RuntimeValue {
  readonly value: readonly RuntimeValue[];
}
export interface MappingValue extends RuntimeValue {
  readonly value: ReadonlyMap<string, RuntimeValue>;
}
export type Callable = (args: readonly RuntimeValue[], scope: Environment) => RuntimeValue;
export interface FunctionValue extends RuntimeValue {
  readonly value: Callable;
}

/** Stands in a node's place for a value that is computed already. */
export class ValueNode implements Statement {
  readonly type = 'Value';
  readonly value: RuntimeValue;
  constructor(value: RuntimeValue) {
    this.value = value;
  }
}

/** A JavaScript value as the library represents it. */
function toRuntime(value: unknown): RuntimeValue {
  return new EnvironmentConstructor().set('value', value);
}

// The library tests values with instanceof and does not export their classes.
const StringConstructor = toRuntime('').constructor as new (value: string) => StringValue;
const FunctionConstructor = toRuntime(() => null).constructor as new (value: Callable) => FunctionValue;

export const undefinedValue: RuntimeValue = toRuntime(undefined);

/** The value of a name in the innermost scope that has it. (The library throws and catches an error for every unknown name.) */
export function lookUp(name: string, environment: Environment): RuntimeValue {
  for (let scope: Environment | undefined = environment; scope !== undefined; scope = scope.parent) {
    const value = scope.variables.get(name);
    if (value !== undefined) return value;
  }
  return undefinedValue;
}

export function makeString(value: string): StringValue {
  return new StringConstructor(value);
}

export function makeFunction(value: Callable): FunctionValue {
  return new FunctionConstructor(value);
}

/** A list or mapping of the same class with other contents. */
export function withContents<T extends ArrayValue | MappingValue>(value: T, contents: T['value']): T {
  return new (value.constructor as new (contents: T['value']) => T)(contents);
}

export function isString(value: RuntimeValue): value is StringValue {
  return value.type === 'StringValue';
}

export function isArray(value: RuntimeValue): value is ArrayValue {
  return value.type === 'ArrayValue' || value.type === 'TupleValue';
}

export function isNamespace(value: RuntimeValue): boolean {
  return value.type === 'NamespaceValue';
}

/** Mappings and namespaces. */
export function isMapping(value: RuntimeValue): value is MappingValue {
  return value.type === 'ObjectValue' || value.type === 'KeywordArgumentsValue' || isNamespace(value);
}

export function isFunction(value: RuntimeValue): value is FunctionValue {
  return value.type === 'FunctionValue';
}
