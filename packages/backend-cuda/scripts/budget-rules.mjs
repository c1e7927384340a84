/** What is asked of a hot kernel, and what its compiled code and its launch give. */
import { blocksPerSm, registersFor } from './chips.mjs';

/**
 * By family: instructions that must be there, and blocks that an SM is to hold where the launch does not say. Of attention on
 * warpgroup products, sums of weights that a lane is to make while products run.
 */
const families = {
  linearGemv: { needs: ['wideLoads'] },
  linearQuantGemv: { needs: ['wideLoads'] },
  linearQuantSwapAb: { needs: ['wideAsyncCopies', 'tensorCore'] },
  linearQuantTiled: { needs: ['wideAsyncCopies', 'tensorCore'] },
  linearSwapAb: { needs: ['wideAsyncCopies', 'tensorCore'] },
  linearNormed: { needs: ['wideAsyncCopies', 'tensorCore'], persistent: true },
  linearRotated: { needs: ['wideAsyncCopies', 'tensorCore'], persistent: true },
  linearSplit: { needs: ['wideAsyncCopies', 'tensorCore'], blocksPerSm: 2 },
  linearTiled: { needs: ['wideAsyncCopies', 'tensorCore'] },
  decodeTensor: { needs: ['wideAsyncCopies', 'tensorCore'], persistent: true },
  decodeSimt: { needs: ['wideLoads'], persistent: true },
  prefill: { needs: ['wideAsyncCopies', 'tensorCore'] },
  prefillWgmma: { needs: ['wideAsyncCopies', 'tensorCore'], addsBesideProducts: 64 },
  rmsNorm: { needs: ['wideLoads'], blocksPerSm: 2 },
  ropeKvWrite: { needs: ['wideLoads'], blocksPerSm: 2 },
  argmax: { needs: ['wideLoads'] },
  sample: { needs: ['wideLoads'] },
  loraShrink: { needs: ['wideLoads'] },
  loraExpand: { needs: ['wideLoads'] },
  persistentStep: { needs: ['wideAsyncCopies', 'tensorCore'], persistent: true },
  filterLogits: { needs: ['wideLoads'], persistent: true },
};
/** Budgets that are lower bounds; the others are upper bounds. */
export const atLeast = [
  'blocksPerSm',
  'bytesInFlightPerSm',
  'wideLoads',
  'wideAsyncCopies',
  'tensorCore',
  'addsBesideProducts',
];

/** Between two kernels of a graph, without programmatic dependent launch. */
const BOUNDARY_MICROSECONDS = 1.3;
const MOST_TRAFFIC = 1.05;

/**
 * One case on one architecture.
 * @param kernel resources and instructions of the compiled code
 * @param launch grid, threads, dynamicShared
 * @param traffic moved and bytes of the emulated size; asyncInFlight of a block, where it has such copies
 */
export function assess({ chip, family, work, kernel, launch, traffic }) {
  const { needs, addsBesideProducts, persistent = false, blocksPerSm: wanted = 1 } = families[family];
  const grid = launch.grid.reduce((product, n) => product * n);
  const shared = kernel.resources.staticShared + launch.dynamicShared;
  const held = blocksPerSm(chip, { threads: launch.threads, registers: kernel.resources.registers, shared });
  const resident = Math.min(held, grid / chip.sms);
  const perBlock = traffic.asyncInFlight || kernel.summary.loadBytesInFlight * launch.threads;
  const { bound, limit } = limitOf(chip, work);
  const blocks = persistent ? Math.ceil(grid / chip.sms) : wanted;
  const budget = {
    registers: registersFor(chip, launch.threads, blocks),
    spillBytes: 0,
    stackBytes: 0,
    localAccesses: 0,
    sharedBytes: chip.sharedPerBlock,
    blocksPerSm: blocks,
    ...(bound === 'bandwidth' && { bytesInFlightPerSm: chip.bytesInFlight }),
    ...Object.fromEntries(needs.map(need => [need, 1])),
    ...(addsBesideProducts && { addsBesideProducts }),
    traffic: MOST_TRAFFIC,
  };
  const found = {
    registers: kernel.resources.registers,
    spillBytes: kernel.resources.spillStores + kernel.resources.spillLoads,
    stackBytes: kernel.resources.stack,
    localAccesses: kernel.summary.local,
    sharedBytes: shared,
    blocksPerSm: held,
    ...(bound === 'bandwidth' && { bytesInFlightPerSm: Math.round(perBlock * resident) }),
    ...Object.fromEntries(needs.map(need => [need, kernel.summary[need]])),
    ...(addsBesideProducts && { addsBesideProducts: kernel.summary.addsBesideProducts }),
    traffic: round(traffic.moved / traffic.bytes, 3),
  };
  const predicted = BOUNDARY_MICROSECONDS + predict(chip, { work, found, grid, held, persistent });
  return {
    bound,
    budget,
    found,
    missed: missedOf(budget, found),
    limitMicroseconds: round(limit, 2),
    predictedMicroseconds: round(predicted, 2),
    share: round(limit / predicted, 2),
  };
}

export function missedOf(budget, found) {
  return Object.keys(budget).filter(name =>
    atLeast.includes(name) ? !(found[name] >= budget[name]) : !(found[name] <= budget[name]),
  );
}

/** Microseconds in which the chip can do no more than move the bytes, or compute; short ones are bound by their launch. */
function limitOf(chip, { bytes, flops }) {
  const [moving, computing] = [(bytes / chip.bandwidth) * 1e6, (flops / chip.tensorFlops) * 1e6];
  const limit = Math.max(moving, computing);
  return { limit, bound: limit < BOUNDARY_MICROSECONDS ? 'launch' : moving >= computing ? 'bandwidth' : 'compute' };
}

/**
 * By Little's law, requests in flight below what the chip needs lower its bandwidth in proportion. Computing takes whole waves
 * of blocks, but in a persistent grid.
 */
function predict(chip, { work, found, grid, held, persistent }) {
  const asked = Math.min(1, (found.bytesInFlightPerSm ?? Number.POSITIVE_INFINITY) / chip.bytesInFlight);
  const moving = ((work.bytes * found.traffic) / (chip.bandwidth * asked)) * 1e6;
  const waves = grid / (held * chip.sms);
  const flops = work.wgmma ? chip.tensorFlops : chip.mmaSyncFlops;
  const computing = (work.flops / flops) * 1e6 * (persistent ? 1 : Math.ceil(waves) / waves);
  return Math.max(moving, computing);
}

/** "gatedLinearSwapAb 8 rows" belongs to linearSwapAb. */
export function familyOf(kernel) {
  const word = /^\w+/.exec(kernel)[0].replace('gatedLinear', 'linear');
  if (!(word in families)) throw new Error(`No budget is set for ${kernel}: name its family in budget-rules.mjs.`);
  return word;
}

function round(value, digits) {
  return Number(value.toFixed(digits));
}
