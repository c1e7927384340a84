/**
 * Ranks that sum in memory that all of them reach, with the addon alone: `node peer-rank.mjs ADDON RANK SIZE` is one of several
 * processes, and does what its parent asks; `node peer-rank.mjs ADDON threads SIZE` is all of them. See peer-processes.test.ts.
 */
import { createRequire } from 'node:module';

const [path, place, sizeText] = process.argv.slice(2);
const addon = createRequire(import.meta.url)(path);
const size = Number(sizeText);
const alone = { rank: 0, size: 1, id: new Uint8Array() };
const DTYPES = { f32: 0, f16: 1, bf16: 2 };

/** Numbers of many magnitudes, so that the order of a sum shows in its last bits; different on every rank. */
function values(dtype, count, rank) {
  const of = i => Math.sin(12.9898 * i + 78.233 * rank) * 2 ** ((i * 7 + rank * 3) % 11);
  const floats = Float32Array.from({ length: count }, (_, i) => of(i));
  if (dtype === 'f32') return new Uint8Array(floats.buffer);
  const words = new Uint32Array(floats.buffer);
  // bf16 is the upper half; of f16 sign and fraction, with an exponent from -7 to 8.
  const half = (word, i) => ((word >>> 16) & 0x8000) | ((8 + (i % 16)) << 10) | ((word >>> 13) & 0x3ff);
  const halves = Uint16Array.from({ length: count }, (_, i) =>
    dtype === 'bf16' ? words[i] >>> 16 : half(words[i], i + rank),
  );
  return new Uint8Array(halves.buffer);
}

class Rank {
  constructor(rank) {
    this.rank = rank;
    const options = { ordinal: rank, graphs: true, batchInvariant: true, choicesFile: '', prefill: 'trial' };
    this.device = new addon.Device(options, () => {});
  }

  uniqueId() {
    return addon.uniqueId();
  }

  exportPeer() {
    return this.device.exportPeer();
  }

  importPeers(exports) {
    return this.device.importPeers(this.rank, exports);
  }

  join(id, usesPeers) {
    return this.device.joinGroup({ rank: this.rank, size, id }, alone, usesPeers);
  }

  /** The bytes of the last of `times` sums in place, and the launches of this process. */
  async sum({ dtype, columns, times }) {
    const data = values(dtype, 3 * columns, this.rank);
    const tensor = () => this.device.createTensor(data.length, 0);
    const [x, residual] = [tensor(), tensor()];
    this.device.write(x, 0, data);
    this.device.write(residual, 0, values(dtype, 3 * columns, size));
    const place = handle => [handle, 0, DTYPES[dtype], 3, -1, columns];
    const tensors = { x: place(x), residual: place(residual), out: place(x) };
    const ops = [{ op: 'allReduce', tensors, attributes: {}, feedsNextOnly: false }];
    const { id } = this.device.compile({ name: 'sum', maxSizes: new Int32Array(7), ops });
    const launches = () => addon.counters().allReduceOneShot?.launches ?? 0;
    const before = launches();
    this.device.submit(Int32Array.of(id, 0, 0, 0, 0, 0, 0, 0), times);
    const out = new Uint8Array(data.length);
    await this.device.read(x, 0, out);
    return { out, launches: launches() - before };
  }

  abort() {
    this.device.abortGroup();
  }

  leave() {
    return this.device.leaveGroup();
  }

  dispose() {
    return this.device.dispose();
  }
}

/** Who does what the parent calls. */
async function callee() {
  if (place !== 'threads') return new Rank(Number(place));
  const ranks = Array.from({ length: size }, (_, rank) => new Rank(rank));
  const ordinals = Int32Array.from(ranks, ({ rank }) => rank);
  const id = addon.uniqueId();
  await Promise.all(ranks.map(({ rank, device }) => device.enterGroup({ rank, size, id }, ordinals)));
  await Promise.all(ranks.map(rank => rank.join(id, true)));
  return { sum: options => Promise.all(ranks.map(rank => rank.sum(options))) };
}

const opening = callee();
process.on('message', async ({ id, call, args }) => {
  // Nothing else keeps this process.
  if (call === 'end') return process.disconnect();
  try {
    process.send({ id, result: await (await opening)[call](...args) });
  } catch (error) {
    process.send({ id, error: error.message });
  }
});
