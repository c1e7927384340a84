import {
  type Dim,
  dtypeBytes,
  isCacheDType,
  isQuantDType,
  type Op,
  type OpName,
  type Program,
  quantDTypes,
  type TensorName,
} from '../contract/contract.ts';
import { type Operand, type OpTensor, operandTable, opTensors } from './operands.ts';
import { ProgramError, type ProgramErrorDetails } from './program-error.ts';
import { type Pattern, type Rule, type RuleContext, rules, type Variable } from './rules.ts';
import { formatShape, sizeNames } from './shapes.ts';

/** Throws ProgramError for the first rule of the contract that a Program breaks: shapes, dtypes, aliasing, order of use. */
export function validateProgram(program: Program): void {
  validateSizes(program);
  validateTensors(program);
  const written = new Set<TensorName>();
  const used = new Set<TensorName>();
  program.ops.forEach((op, index) => {
    const check = new OpCheck(program, op, index);
    check.run();
    check.checkInitialised(written);
    for (const tensor of check.tensors) {
      used.add(tensor.name);
      if (tensor.operand.access !== 'read') written.add(tensor.name);
    }
  });
  for (const [name, tensor] of Object.entries(program.tensors)) {
    if (used.has(name) || tensor.kind === 'external') continue;
    throw new ProgramError({
      program: program.name,
      tensor: `temporary "${name}"`,
      found: 'no op that uses it',
      expected: 'every temporary to be used',
    });
  }
}

function validateSizes(program: Program): void {
  for (const name of sizeNames) {
    const size: unknown = program.maxSizes[name];
    if (Number.isInteger(size) && (size as number) >= 0) continue;
    throw new ProgramError({
      program: program.name,
      found: `maxSizes.${name} = ${String(size)}`,
      expected: 'an integer of 0 or more',
    });
  }
}

function validateTensors(program: Program): void {
  for (const [name, { dtype, shape, kind }] of Object.entries(program.tensors)) {
    const fail = (found: string, expected: string) => {
      throw new ProgramError({ program: program.name, tensor: `${kind} "${name}"`, found, expected });
    };
    if (!(dtype in dtypeBytes) && !isQuantDType(dtype)) {
      fail(`dtype ${String(dtype)}`, `one of ${[...Object.keys(dtypeBytes), ...quantDTypes].join(', ')}`);
    }
    if (shape.length === 0) fail('shape []', 'at least one dimension');
    shape.forEach((dim, axis) => {
      if (typeof dim === 'number' ? !Number.isInteger(dim) || dim < 0 : !sizeNames.includes(dim)) {
        fail(`dimension ${dim}`, `an integer of 0 or more, or one of ${sizeNames.join(', ')}`);
      }
      if (typeof dim === 'string' && axis > 0) {
        fail(`shape ${formatShape(shape)}`, 'a size of the step in the first dimension only');
      }
    });
  }
}

/** The rules of one op. */
class OpCheck implements RuleContext {
  readonly tensors: readonly OpTensor[];
  readonly #program: Program;
  readonly #op: Op;
  readonly #index: number;
  readonly #solved = new Map<Variable, { dim: Dim; from: string }>();

  constructor(program: Program, op: Op, index: number) {
    this.#program = program;
    this.#op = op;
    this.#index = index;
    if (!Object.hasOwn(operandTable, op.op))
      this.#fail({ found: `op ${String(op.op)}`, expected: 'an op of the catalogue' });
    this.tensors = opTensors(op);
  }

  run(): void {
    this.#checkPresence();
    this.#checkAliasing();
    this.#checkDTypes();
    const rule = rules[this.#op.op] as Rule<OpName>;
    rule.attributes?.(this.#op, this);
    const shapes: Readonly<Record<string, Pattern>> = rule.shapes(this.#op);
    for (const tensor of this.tensors) this.#checkShape(tensor, shapes[tensor.field]!);
    rule.check?.(this.#op, this);
  }

  max(variable: Variable): number {
    const { dim } = this.#solved.get(variable)!;
    return typeof dim === 'number' ? dim : this.#program.maxSizes[dim];
  }

  require(holds: boolean, found: string, expected: string, field?: string): void {
    if (holds) return;
    const tensor = this.tensors.find(candidate => candidate.field === field);
    if (tensor !== undefined) this.#fail({ tensor: describe(tensor), found, expected });
    const prefix = field === undefined ? '' : `${field} = `;
    this.#fail({ found: `${prefix}${found}`, expected });
  }

  /** Temporaries hold garbage until an op writes them. */
  checkInitialised(written: ReadonlySet<TensorName>): void {
    for (const tensor of this.tensors) {
      const { kind } = this.#program.tensors[tensor.name]!;
      if (tensor.operand.access === 'write' || kind === 'external' || written.has(tensor.name)) continue;
      this.#fail({
        tensor: describe(tensor),
        found: 'a temporary that no earlier op has written',
        expected: 'a written one',
      });
    }
  }

  #checkPresence(): void {
    const present = new Set(this.tensors.map(tensor => tensor.field));
    const operands: Readonly<Record<string, Operand>> = operandTable[this.#op.op];
    for (const [field, operand] of Object.entries(operands)) {
      if (present.has(field) || operand.optional) continue;
      this.#fail({ tensor: field, found: 'no tensor', expected: 'the name of a tensor' });
    }
    for (const tensor of this.tensors) {
      if (Object.hasOwn(this.#program.tensors, tensor.name)) continue;
      this.#fail({
        tensor: describe(tensor),
        found: 'a name that is not declared',
        expected: 'a tensor of the program',
      });
    }
  }

  #checkAliasing(): void {
    for (const written of this.tensors) {
      if (written.operand.access === 'read') continue;
      for (const other of this.tensors) {
        if (other === written || other.name !== written.name || written.operand.inPlaceOf === other.field) continue;
        if (other.operand.inPlaceOf === written.field) continue;
        this.#fail({
          tensor: describe(written),
          found: `the same tensor as ${other.field}`,
          expected: written.operand.inPlaceOf
            ? `a tensor of its own, or the one of ${written.operand.inPlaceOf}`
            : 'a tensor of its own',
        });
      }
    }
  }

  #checkDTypes(): void {
    const first = new Map<string, OpTensor>();
    for (const tensor of this.tensors) {
      const { role } = tensor.operand;
      const found = this.#dtype(tensor);
      if (role === 'u32' || role === 'f32') {
        if (found !== role) this.#fail({ tensor: describe(tensor), found: `dtype ${found}`, expected: role });
        continue;
      }
      this.#checkBound(tensor);
      const misplaced = isQuantDType(found)
        ? !takesQuantised(this.#op.op, tensor)
        : isCacheDType(found) && role !== 'kv';
      if (found === 'u32' || misplaced) {
        this.#fail({ tensor: describe(tensor), found: `dtype ${found}`, expected: 'f32, f16 or bf16' });
      }
      const group = this.#dtypeGroup(tensor);
      const peer = first.get(group) ?? tensor;
      first.set(group, peer);
      const expected = this.#dtype(peer);
      if (found === expected) continue;
      this.#fail({
        tensor: describe(tensor),
        found: `dtype ${found}`,
        expected: `${expected} as of ${describe(peer)}`,
      });
    }
    this.#checkScales();
    if (this.#op.op === 'linear') this.#checkLinearOutput(this.#op.x, this.#op.out);
  }

  /** Caches in codes have scales, others have none. */
  #checkScales(): void {
    const cache = this.tensors.find(({ operand }) => operand.role === 'kv');
    if (cache === undefined) return;
    const given = this.tensors
      .filter(({ field }) => field === 'kScales' || field === 'vScales')
      .map(({ field }) => field);
    const dtype = this.#dtype(cache);
    const expected = isCacheDType(dtype) ? 'kScales and vScales' : 'no scales';
    const found = given.length === 0 ? 'no scales' : given.join(' and ');
    this.require(found === expected, found, `${expected}, since ${cache.field} is ${dtype}`);
  }

  /** Weights and caches are the caller's, so that a backend may repack the one and move the other. */
  #checkBound(tensor: OpTensor): void {
    if (tensor.operand.role === 'activation' || this.#program.tensors[tensor.name]!.kind === 'external') return;
    this.#fail({ tensor: describe(tensor), found: 'a temporary', expected: 'an external tensor' });
  }

  /** linear may widen: its output and residual have the dtype of x, or f32. */
  #checkLinearOutput(x: TensorName, out: TensorName): void {
    const [from, to] = [this.#program.tensors[x]!.dtype, this.#program.tensors[out]!.dtype];
    this.require(to === from || to === 'f32', `dtype ${to}`, `${from} as of x "${x}", or f32`, 'out');
  }

  #dtypeGroup(tensor: OpTensor): string {
    const { role } = tensor.operand;
    if (this.#op.op === 'linear' && tensor.field === 'x') return 'x';
    // A bias beside a quantised weight has a dtype of its own.
    return isQuantDType(this.#dtype(tensor)) ? 'quantised' : role;
  }

  #dtype(tensor: OpTensor) {
    return this.#program.tensors[tensor.name]!.dtype;
  }

  #checkShape(tensor: OpTensor, pattern: Pattern): void {
    const { shape } = this.#program.tensors[tensor.name]!;
    const known = pattern.map(dim => (typeof dim === 'number' ? undefined : this.#solved.get(dim)));
    if (shape.length === pattern.length && shape.every((dim, axis) => this.#matches(dim, pattern[axis]!, tensor)))
      return;
    const expected = pattern.map((dim, axis) => known[axis]?.dim ?? dim);
    const from = [...new Set(known.flatMap(solved => solved?.from ?? []))];
    this.#fail({
      tensor: describe(tensor),
      found: `shape ${formatShape(shape)}`,
      expected: `${formatShape(expected)}${from.length > 0 ? ` to agree with ${from.join(' and ')}` : ''}`,
    });
  }

  #matches(dim: Dim, pattern: number | Variable, tensor: OpTensor): boolean {
    if (typeof pattern === 'number') return dim === pattern;
    const solved = this.#solved.get(pattern);
    if (solved === undefined) this.#solved.set(pattern, { dim, from: tensor.field });
    return solved === undefined || solved.dim === dim;
  }

  #fail(details: Omit<ProgramErrorDetails, 'program' | 'op' | 'opIndex'>): never {
    throw new ProgramError({ program: this.#program.name, opIndex: this.#index, op: this.#op.op, ...details });
  }
}

/** Matrices may be quantised; norms and biases may not. */
function takesQuantised(op: OpName, { field, operand }: OpTensor): boolean {
  const matrix = ['linear', 'gatedLinear', 'groupedLinear'].includes(op) ? 'weight' : 'table';
  return operand.role === 'weight' && field === matrix;
}

function describe(tensor: OpTensor): string {
  return `${tensor.field} "${tensor.name}"`;
}
