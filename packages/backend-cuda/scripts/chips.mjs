/** The chips that budgets are reckoned for. Figures of one SM unless said: CUDA C++ programming guide, table of capabilities. */
export const chips = {
  sm_80: {
    name: 'A100',
    sms: 108,
    registers: 65536,
    threads: 2048,
    blocks: 32,
    sharedPerBlock: 163 * 1024,
    shared: 164 * 1024,
    /** Of the whole chip, as reached and not as advertised: bytes and floating-point operations per second. */
    bandwidth: 2.0e12,
    tensorFlops: 312e12,
    mmaSyncFlops: 312e12,
    /** Requests that keep its memory busy. */
    bytesInFlight: 16 * 1024,
  },
  sm_90: {
    name: 'H200',
    sms: 132,
    registers: 65536,
    threads: 2048,
    blocks: 32,
    sharedPerBlock: 227 * 1024,
    shared: 228 * 1024,
    bandwidth: 4.3e12,
    tensorFlops: 790e12,
    /** Measured: mma.sync does not use the whole tensor core. */
    mmaSyncFlops: 620e12,
    bytesInFlight: 40 * 1024,
  },
};

const SHARED_RESERVED_PER_BLOCK = 1024;
const roundUp = (value, unit) => Math.ceil(value / unit) * unit;

/** Registers of a block: a warp takes them in units of 256. */
function registersOf(threads, registers) {
  return Math.ceil(threads / 32) * roundUp(registers * 32, 256);
}

/** Blocks that an SM holds at once. */
export function blocksPerSm(chip, { threads, registers, shared }) {
  return Math.min(
    chip.blocks,
    Math.floor(chip.threads / roundUp(threads, 32)),
    Math.floor(chip.registers / registersOf(threads, registers)),
    Math.floor(chip.shared / (roundUp(shared, 128) + SHARED_RESERVED_PER_BLOCK)),
  );
}

/** The most registers of a thread with which an SM holds so many blocks. */
export function registersFor(chip, threads, blocks) {
  const perThread = chip.registers / (blocks * roundUp(threads, 32));
  return Math.min(255, Math.floor(perThread / 8) * 8);
}
