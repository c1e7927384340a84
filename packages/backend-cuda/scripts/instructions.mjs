/**
 * Reads machine code of compute capability 7.0 to 9.0: 128-bit instructions whose lowest 12 bits name the operation. Only what
 * budgets speak of is told apart. Fields as in Mesa's compiler for these chips (src/nouveau/compiler/nak); that they hold for
 * the installed compiler is checked on budgets/calibration.cu at each run.
 */
const INSTRUCTION_BYTES = 16;
const BRANCH = 0x947;
/** A fence of products on warpgroups, or a wait for all but some groups of them. */
const WARPGROUP = 0x9c5;
const SCOREBOARDS = 6;

const kinds = new Map([
  [0x381, 'globalLoad'],
  [0x981, 'globalLoad'],
  [0x386, 'globalStore'],
  [0x986, 'globalStore'],
  [0x383, 'local'],
  [0x983, 'local'],
  [0x387, 'local'],
  [0x987, 'local'],
  [0xfae, 'asyncCopy'],
  [0x23c, 'tensorCore'],
  // On warpgroups, with A in shared memory and in registers.
  [0x9f0, 'tensorCore'],
  [0xdf0, 'tensorCore'],
  [0x83b, 'matrixLoad'],
  [0x221, 'add'],
  [WARPGROUP, 'warpgroup'],
  [BRANCH, 'branch'],
]);
/** By the field of a memory instruction that names the type. */
const accessBytes = [1, 1, 2, 2, 4, 8, 16, 16];

/**
 * [{ kind, bytes, sets, waits, target, productsLeft }]: sets is the scoreboard that a load holds until it is done, waits a mask of
 * those; productsLeft the groups of products on warpgroups that a wait leaves on their way.
 */
function decode(code, architecture) {
  return Array.from({ length: code.length / INSTRUCTION_BYTES }, (_, i) => {
    const at = i * INSTRUCTION_BYTES;
    const [low, offset, type, control] = [0, 4, 8, 12].map(word => code.readInt32LE(at + word));
    const kind = kinds.get(low & 0xfff) ?? 'other';
    return {
      kind,
      bytes: accessBytes[(type >>> 9) & 7],
      sets: (control >>> 14) & 7,
      waits: (control >>> 20) & 0x3f,
      productsLeft: kind === 'warpgroup' ? (type >>> 8) & 0xff : undefined,
      target: kind === 'branch' ? i + 1 + branchBytes(low, offset, architecture) / INSTRUCTION_BYTES : undefined,
    };
  });
}

/** From the end of a branch to its target, in words from bit 34 on; from sm_90 on the lowest 8 bits of it lie apart. */
function branchBytes(low, offset, architecture) {
  const words = offset >> 2;
  return 4 * (architecture === 'sm_80' ? words : (words << 8) | ((low >>> 16) & 0xff));
}

/** How often each kind stands in the code, wide accesses (16 bytes) apart; and the register loads in flight of a thread. */
export function summarize(code, architecture) {
  const instructions = decode(code, architecture);
  const isInside = target => Number.isInteger(target) && target >= 0 && target < instructions.length;
  const stray = instructions.findIndex(({ kind, target }) => kind === 'branch' && !isInside(target));
  if (stray >= 0)
    throw new Error(`Instruction ${stray} of code for ${architecture} branches out of it: it is not read aright.`);
  const count = (...wanted) => instructions.filter(({ kind }) => wanted.includes(kind)).length;
  const wide = (...wanted) => instructions.filter(({ kind, bytes }) => bytes === 16 && wanted.includes(kind)).length;
  return {
    instructions: instructions.length,
    local: count('local'),
    tensorCore: count('tensorCore'),
    matrixLoad: count('matrixLoad'),
    asyncCopies: count('asyncCopy'),
    wideAsyncCopies: wide('asyncCopy'),
    loads: count('globalLoad'),
    wideLoads: wide('globalLoad'),
    stores: count('globalStore'),
    wideStores: wide('globalStore'),
    loadBytesInFlight: loadBytesInFlight(instructions),
    addsBesideProducts: addsBesideProducts(instructions),
  };
}

/** Additions behind a wait that leaves products on warpgroups on their way, and in front of the next one. */
function addsBesideProducts(instructions) {
  let [adds, isBeside] = [0, false];
  for (const { kind, productsLeft } of instructions) {
    if (kind === 'warpgroup') isBeside = productsLeft > 0;
    if (kind === 'add' && isBeside) adds++;
  }
  return adds;
}

/**
 * The most bytes that a thread has asked for with loads into registers before it waits for any of them: loads of a scoreboard
 * add up until an instruction waits for it. The code is followed as it stands, and each loop once more from its end.
 */
function loadBytesInFlight(instructions) {
  let most = 0;
  const follow = (from, to, pending, isLoop) => {
    for (let i = from; i <= to; i++) {
      const { kind, bytes, sets, waits, target } = instructions[i];
      for (let board = 0; board < pending.length; board++) if ((waits >> board) & 1) pending[board] = 0;
      if (kind === 'globalLoad' && sets < pending.length) pending[sets] += bytes;
      const asked = pending.reduce((sum, part) => sum + part);
      most = Math.max(most, asked);
      if (!isLoop && target <= i) follow(target, i, [...pending], true);
    }
  };
  follow(0, instructions.length - 1, new Array(SCOREBOARDS).fill(0), false);
  return most;
}
