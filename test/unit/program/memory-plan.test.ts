import type { Op, Program, ProgramTensor } from '@quire/core/contract';
import { opAccess, type Place, ProgramBuilder, planMemory, tensorBytes } from '@quire/core/program';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const maxSizes = {
  tokens: 12,
  sequences: 4,
  decodeSequences: 4,
  samples: 4,
  blocksPerSequence: 2,
  maxQueryTokens: 12,
  deltaSegments: 0,
};

/** A random chain: each op adds two tensors that exist into a new one, or into the first of them. */
const programs = fc
  .record({
    rows: fc.constantFrom(1, 5, 'tokens' as const),
    widths: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 3 }),
    steps: fc.array(fc.record({ a: fc.nat(), b: fc.nat(), width: fc.nat(), inPlace: fc.boolean() }), {
      minLength: 1,
      maxLength: 25,
    }),
  })
  .map(({ rows, widths, steps }) => {
    const builder = new ProgramBuilder('random', maxSizes);
    const byWidth = widths.map((width, i) => [builder.external(`in${i}`, 'f32', [rows, width])]);
    steps.forEach(({ a, b, width, inPlace }, index) => {
      const group = byWidth[width % byWidth.length]!;
      const [first, second] = [group[a % group.length]!, group[b % group.length]!];
      if (inPlace && first !== second && a % group.length > 0) {
        builder.add({ op: 'add', a: first, b: second, out: first });
        return;
      }
      const out = builder.temporary(`t${index}`, 'f32', [rows, widths[width % widths.length]!]);
      builder.add({ op: 'add', a: first, b: second, out });
      group.push(out);
    });
    return builder.build();
  });

/** Names of temporaries that must hold their contents while op `index` runs. */
function liveAt(program: Program, index: number): string[] {
  const usedBy = (ops: readonly Op[]) => new Set(ops.flatMap(op => [...opAccess(op).reads, ...opAccess(op).writes]));
  const [until, from] = [usedBy(program.ops.slice(0, index + 1)), usedBy(program.ops.slice(index))];
  return Object.keys(program.tensors).filter(
    name => program.tensors[name]!.kind === 'temporary' && until.has(name) && from.has(name),
  );
}

const overlap = (a: Place, b: Place) =>
  a.arena === b.arena && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;

describe('planMemory', () => {
  it('never lets tensors that are live at the same op overlap, aligns them, and keeps arenas under the cap', () => {
    const property = fc.property(
      programs,
      fc.constantFrom(4, 16, 256),
      fc.integer({ min: 12 * 40 * 4, max: 6000 }),
      fc.boolean(),
      (program, alignment, maxArenaBytes, keepAll) => {
        const plan = planMemory(program, { alignment, maxArenaBytes, keepAll });
        const temporaries = Object.entries(program.tensors).filter(([, tensor]) => tensor.kind === 'temporary');
        expect(Object.keys(plan.places).sort()).toEqual(temporaries.map(([name]) => name).sort());
        for (const [name, tensor] of temporaries) checkPlace(plan.places[name]!, tensor, plan.arenas);
        for (const bytes of plan.arenas) expect(bytes).toBeLessThanOrEqual(maxArenaBytes);
        for (const { offset } of Object.values(plan.places)) expect(offset % alignment).toBe(0);
        const groups = keepAll ? [Object.keys(plan.places)] : program.ops.map((_, index) => liveAt(program, index));
        for (const live of groups) {
          live.forEach((a, i) => {
            for (const b of live.slice(i + 1)) expect(overlap(plan.places[a]!, plan.places[b]!)).toBe(false);
          });
        }
      },
    );
    fc.assert(property, { numRuns: 300 });
  });

  function checkPlace(place: Place, tensor: ProgramTensor, arenas: number[]) {
    expect(place.bytes).toBe(tensorBytes(tensor, maxSizes));
    expect(place.offset + place.bytes).toBeLessThanOrEqual(arenas[place.arena]!);
  }

  function chain(length: number): Program {
    const builder = new ProgramBuilder('chain', maxSizes);
    let x = builder.external('x', 'f32', ['tokens', 8]);
    for (let i = 0; i < length; i++) {
      const out = builder.temporary(`t${i}`, 'f32', ['tokens', 8]);
      builder.add({ op: 'add', a: x, b: 'x', out });
      x = out;
    }
    return builder.build();
  }

  it('reuses memory: a chain of any length needs two places', () => {
    expect(planMemory(chain(20), { alignment: 256, maxArenaBytes: 2 ** 20 }).arenas).toEqual([512 + 12 * 8 * 4]);
  });

  it('keeps what an op reads for the ops that it may share a launch with', () => {
    const options = { alignment: 256, maxArenaBytes: 2 ** 20, sharedWith: () => 1 };
    expect(planMemory(chain(20), options).arenas).toEqual([1024 + 12 * 8 * 4]);
  });

  it('opens another arena rather than pass the cap', () => {
    expect(planMemory(chain(20), { alignment: 256, maxArenaBytes: 600 }).arenas).toEqual([384, 384]);
  });

  it('gives each tensor its own place with keepAll', () => {
    const { arenas } = planMemory(chain(20), { alignment: 128, maxArenaBytes: 2 ** 20, keepAll: true });
    expect(arenas).toEqual([20 * 384]);
  });

  it('refuses a temporary that no arena can hold', () => {
    expect(() => planMemory(chain(1), { alignment: 256, maxArenaBytes: 383 })).toThrow(
      'program chain, temporary "t0": found 384 bytes at the program\'s maxSizes, expected at most 383 bytes',
    );
  });
});
