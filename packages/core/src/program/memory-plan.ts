import type { Op, Program, TensorName } from '../contract/contract.ts';
import { opAccess } from './access.ts';
import { ProgramError } from './program-error.ts';
import { tensorBytes } from './shapes.ts';

export interface MemoryPlanOptions {
  /** Bytes; every offset is a multiple of it. */
  alignment: number;
  /** No arena is larger; a temporary that alone is larger throws ProgramError. */
  maxArenaBytes: number;
  /** Every temporary keeps its own place for the whole step. */
  keepAll?: boolean;
  /**
   * How many ops behind it may share a launch with an op: what it reads keeps its place until the last of them. Default: none.
   */
  sharedWith?: (op: Op) => number;
}

/** Where a temporary lies at the Program's maxSizes. */
export interface Place {
  arena: number;
  offset: number;
  bytes: number;
}

export interface MemoryPlan {
  /** Bytes of each arena. */
  arenas: number[];
  places: Record<TensorName, Place>;
}

interface Lifetime {
  name: TensorName;
  bytes: number;
  first: number;
  last: number;
}

/**
 * Places every temporary by liveness: two that are live at the same op never overlap, so an op's outputs never overlap its
 * inputs. Largest first, each at the lowest free offset of the first arena with room (greedy by size: Pisarchyk and Lee 2020).
 * The plan depends on the Program and the options alone.
 */
export function planMemory(program: Program, options: MemoryPlanOptions): MemoryPlan {
  const lifetimes = findLifetimes(program, options);
  lifetimes.sort((a, b) => b.bytes - a.bytes || a.first - b.first);
  const plan: MemoryPlan = { arenas: [], places: {} };
  const placed: Lifetime[][] = [];
  for (const lifetime of lifetimes) {
    if (lifetime.bytes > options.maxArenaBytes) throw tooLarge(program, lifetime, options.maxArenaBytes);
    plan.places[lifetime.name] = place(lifetime, plan, placed, options);
  }
  return plan;
}

function findLifetimes(program: Program, { keepAll = false, sharedWith = () => 0 }: MemoryPlanOptions): Lifetime[] {
  const lifetimes = new Map<TensorName, Lifetime>();
  for (const [name, tensor] of Object.entries(program.tensors)) {
    if (tensor.kind !== 'temporary') continue;
    const bytes = tensorBytes(tensor, program.maxSizes);
    lifetimes.set(name, { name, bytes, first: keepAll ? 0 : Infinity, last: keepAll ? Infinity : -1 });
  }
  program.ops.forEach((op, index) => {
    const { reads, writes } = opAccess(op);
    const extend = (name: TensorName, last: number) => {
      const lifetime = lifetimes.get(name);
      if (lifetime === undefined) return;
      lifetime.first = Math.min(lifetime.first, index);
      lifetime.last = Math.max(lifetime.last, last);
    };
    for (const name of writes) extend(name, index);
    for (const name of reads) extend(name, index + sharedWith(op));
  });
  return [...lifetimes.values()];
}

function place(lifetime: Lifetime, plan: MemoryPlan, placed: Lifetime[][], options: MemoryPlanOptions): Place {
  for (let arena = 0; ; arena++) {
    const neighbours = placed[arena] ?? [];
    const offset = lowestOffset(lifetime, neighbours, plan, options.alignment);
    if (offset + lifetime.bytes > options.maxArenaBytes) continue;
    neighbours.push(lifetime);
    placed[arena] = neighbours;
    plan.arenas[arena] = Math.max(plan.arenas[arena] ?? 0, offset + lifetime.bytes);
    return { arena, offset, bytes: lifetime.bytes };
  }
}

/** The lowest aligned offset at which no tensor that is live at the same time lies. */
function lowestOffset(lifetime: Lifetime, neighbours: Lifetime[], plan: MemoryPlan, alignment: number): number {
  const taken = neighbours
    .filter(other => other.first <= lifetime.last && lifetime.first <= other.last)
    .map(other => plan.places[other.name]!)
    .sort((a, b) => a.offset - b.offset);
  let offset = 0;
  for (const range of taken) {
    if (offset + lifetime.bytes <= range.offset) break;
    offset = Math.max(offset, alignUp(range.offset + range.bytes, alignment));
  }
  return offset;
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

function tooLarge(program: Program, lifetime: Lifetime, maxArenaBytes: number): ProgramError {
  return new ProgramError({
    program: program.name,
    tensor: `temporary "${lifetime.name}"`,
    found: `${lifetime.bytes} bytes at the program's maxSizes`,
    expected: `at most ${maxArenaBytes} bytes (the device's limit); lower maxSizes or split the tensor into row parts`,
  });
}
