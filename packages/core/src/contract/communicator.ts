/**
 * How the ranks of a group reach each other; passed when a device is opened. Every call blocks the rank's own thread until the
 * others have come to the same call: all ranks make the same calls in the same order. Throws DeviceLostError when another rank
 * is gone.
 */
export interface Communicator {
  readonly rank: number;
  readonly size: number;
  /** data = the sum over all ranks, added in f64 in the order of the ranks and rounded once. */
  allReduce(data: Float32Array): void;
  /** into = the data of all ranks, in order; into.length = size * data.length. */
  allGather(data: Float32Array, into: Float32Array): void;
  /** data = the data of rank `from`. */
  broadcast(data: Uint32Array, from: number): void;
  /** Returns when rank `to` has taken the data. */
  send(data: Float32Array, to: number): void;
  /** into = what rank `from` sends next, of the same length. */
  recv(into: Float32Array, from: number): void;
  /** Ends the group: calls that wait, and all later ones, throw on every rank. */
  end(): void;
}

/** How a device reaches the other ranks of its stage, and the devices of its rank in the other stages. */
export interface Communicators {
  readonly tensor: Communicator;
  readonly pipeline: Communicator;
}
