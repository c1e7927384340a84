/** Of one SM unless said. */
export interface Chip {
  name: string;
  sms: number;
  registers: number;
  threads: number;
  blocks: number;
  sharedPerBlock: number;
  shared: number;
  /** Of the whole chip, per second. */
  bandwidth: number;
  tensorFlops: number;
  mmaSyncFlops: number;
  bytesInFlight: number;
}
export const chips: Readonly<Record<'sm_80' | 'sm_90', Chip>>;
/** Blocks that an SM holds at once. */
export function blocksPerSm(chip: Chip, block: { threads: number; registers: number; shared: number }): number;
/** The most registers of a thread with which an SM holds so many blocks. */
export function registersFor(chip: Chip, threads: number, blocks: number): number;
