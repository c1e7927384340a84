import type { OpName, Program, StepSizes, TensorName, TypedArray } from '@quire/core/contract';
import { noSizes, opAccess, ProgramBuilder } from '@quire/core/program';
import { Random, seedOf } from './random.ts';
import type { CaseGroup, CaseInputs, CaseVariant, ConformanceCase, FloatType, OutputCheck } from './types.ts';

/** The end of a group's name: ` activations=f16`, or nothing for f32. */
export function dtypeName(activations: FloatType): string {
  return activations === 'f32' ? '' : ` activations=${activations}`;
}

export interface GroupSpec {
  /** The parameters that its cases share, as text. */
  name: string;
  quick?: boolean;
  /** Those left out are 0. */
  maxSizes: Partial<StepSizes>;
  /** Declares the tensors, all external, and adds the ops. */
  build(builder: ProgramBuilder): void;
  /** One per written tensor. */
  checks: Readonly<Record<TensorName, OutputCheck>>;
  variants: readonly CaseVariant[];
  /** Why outputs of all variants may be constant or unchanged. */
  trivial?: string;
  /** Run the first variants once more with the outputs as temporaries between guards. They must be written in full. */
  guarded?: boolean;
}

export function group(spec: GroupSpec): CaseGroup[] {
  const builder = new ProgramBuilder(spec.name, { ...noSizes, ...spec.maxSizes });
  spec.build(builder);
  const program = builder.build();
  const { trivial } = spec;
  const variants = trivial === undefined ? spec.variants : spec.variants.map(variant => ({ trivial, ...variant }));
  const plain = { name: spec.name, quick: spec.quick ?? false, program, checks: spec.checks, variants };
  return spec.guarded ? [plain, guardedTwin(plain)] : [plain];
}

/** Numbers the cases of an op. */
export function numberCases(op: OpName, groups: readonly CaseGroup[]): ConformanceCase[] {
  const cases: ConformanceCase[] = [];
  for (const group of groups) {
    for (const variant of group.variants) {
      const index = cases.length;
      const name = [group.name, variant.name].filter(Boolean).join(' ');
      const seed = seedOf(`${op} ${name}`);
      const sizes = { ...group.program.maxSizes, ...variant.sizes };
      cases.push({
        op,
        index,
        name,
        quick: variant.quick ?? group.quick,
        sizes,
        program: group.program,
        checks: group.checks,
        trivial: variant.trivial,
        group,
        inputs: () => variant.fill(new Random(seed), sizes),
      });
    }
  }
  return cases;
}

/** Variants of a twin: enough to see a neighbour overwritten. */
const TWIN_VARIANTS = 3;
/** The pattern in a guard. Finite, because it gets there through an `add`. */
export const guardPattern = (index: number): number => 1000 + (index % 977);
/** External tensors that a guard of so many words is made from. */
const guardSource = (columns: number): TensorName => `guard.source.${columns}`;
const guardZero = (columns: number): TensorName => `guard.zero.${columns}`;

/**
 * The same program with its outputs as temporaries. Each lies between two guards of the same size, which ops of the program
 * fill first: the memory plan puts temporaries of equal size next to each other in order of declaration, so an op that
 * writes outside of its output changes a guard.
 */
function guardedTwin(base: CaseGroup): CaseGroup {
  const read = new Set(base.program.ops.flatMap(op => opAccess(op).reads));
  const names = Object.keys(base.checks).filter(name => !read.has(name));
  const outputs = new Map(names.map(name => [name, columnsAtMaximum(base.program, name)]));
  const builder = new ProgramBuilder(base.program.name, base.program.maxSizes);
  for (const [name, tensor] of Object.entries(base.program.tensors)) {
    if (!outputs.has(name)) builder.external(name, tensor.dtype, tensor.shape);
  }
  for (const columns of new Set(outputs.values())) {
    builder.external(guardSource(columns), 'f32', [1, columns]);
    builder.external(guardZero(columns), 'f32', [1, columns]);
  }
  const guards: TensorName[] = [];
  for (const [name, columns] of outputs) {
    const { dtype, shape } = base.program.tensors[name]!;
    guards.push(builder.temporary(`guard.before.${name}`, 'f32', [1, columns]));
    builder.temporary(name, dtype, shape);
    guards.push(builder.temporary(`guard.after.${name}`, 'f32', [1, columns]));
    for (const out of guards.slice(-2)) {
      builder.add({ op: 'add', a: guardSource(columns), b: guardZero(columns), out });
    }
  }
  for (const op of base.program.ops) builder.add(op);
  const variants = base.variants.slice(0, TWIN_VARIANTS).map(variant => ({
    ...variant,
    fill: (random: Random, sizes: StepSizes) => ({ ...variant.fill(random, sizes), ...guardInputs(outputs.values()) }),
  }));
  return { ...base, name: `${base.name} in arena`, program: builder.build(), variants, guards };
}

function guardInputs(columnCounts: Iterable<number>): CaseInputs {
  const inputs: Record<TensorName, TypedArray> = {};
  for (const columns of columnCounts) {
    inputs[guardSource(columns)] = Float32Array.from({ length: columns }, (_, i) => guardPattern(i));
    inputs[guardZero(columns)] = new Float32Array(columns);
  }
  return inputs;
}

/** Words that hold a tensor of the program at its largest. */
function columnsAtMaximum(program: Program, name: TensorName): number {
  const { dtype, shape } = program.tensors[name]!;
  const elements = shape.reduce<number>(
    (product, dim) => product * (typeof dim === 'number' ? dim : program.maxSizes[dim]),
    1,
  );
  return Math.max(1, dtype === 'f32' || dtype === 'u32' ? elements : Math.ceil(elements / 2));
}
