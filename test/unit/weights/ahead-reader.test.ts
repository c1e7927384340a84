import { MemorySource, ModelFormatError, type ModelSource } from '@quire/core/weights';
import { describe, expect, it } from 'vitest';
import { AheadReader } from '../../../packages/core/src/weights/ahead-reader.ts';

const MiB = 1 << 20;
const BLOCK = 2 * MiB;

/** A file whose bytes tell where they lie. */
function fileOf(bytes: number): Uint8Array {
  return new Uint8Array(Uint32Array.from({ length: Math.ceil(bytes / 4) }, (_, i) => i).buffer, 0, bytes);
}

/** Notes what is read, and reads to the place that is given, as a folder does. */
class NotedSource extends MemorySource {
  readonly reads: { file: string; start: number; end: number }[] = [];
  fails: (start: number) => boolean = () => false;

  override async read(file: string, start: number, end: number, into?: Uint8Array): Promise<Uint8Array> {
    this.reads.push({ file, start, end });
    await new Promise(setImmediate);
    if (this.fails(start)) throw new ModelFormatError('IO_ERROR', `no bytes at ${start}`, { file });
    const bytes = await super.read(file, start, end);
    if (into === undefined) return bytes.slice();
    into.set(bytes);
    return into.subarray(0, bytes.length);
  }
}

function open(files: Record<string, Uint8Array>): { source: NotedSource; reader: AheadReader } {
  const source = new NotedSource(new Map(Object.entries(files)));
  return { source, reader: new AheadReader(source) };
}

async function check(reader: AheadReader, file: Uint8Array, start: number, end: number, step?: number, name = 'f') {
  let at = start;
  for await (const chunk of reader.chunks(name, start, end, step)) {
    if (step !== undefined) expect(chunk.length).toBe(Math.min(step, end - at));
    await new Promise(setImmediate);
    expect(Buffer.compare(chunk, file.subarray(at, at + chunk.length)), `bytes at ${at}`).toBe(0);
    at += chunk.length;
  }
  expect(at).toBe(end);
}

describe('AheadReader', () => {
  const file = fileOf(75 * MiB + 123);

  it('reads each byte of a file once, in order, with reads under way beyond the end of a range', async () => {
    const { source, reader } = open({ f: file });
    const edges = [136, 8 * MiB, 8 * MiB + 2, 20 * MiB + 7, 21 * MiB, 50 * MiB, file.length];
    for (const [i, start] of edges.slice(0, -1).entries()) await check(reader, file, start, edges[i + 1]!);
    expect(source.reads.map(({ start }) => start)).toEqual(
      Array.from({ length: Math.ceil(file.length / BLOCK) }, (_, i) => (i === 0 ? 136 : i * BLOCK)),
    );
    expect(source.reads.at(-1)!.end).toBe(file.length);
  });

  it('has reads under way before bytes are asked for, beyond the end of a range as far as it has come', async () => {
    const { source, reader } = open({ f: file });
    await reader.chunks('f', 0, 60 * MiB).next();
    expect(source.reads.length).toBe(8);
    const other = open({ f: file });
    await check(other.reader, file, 0, 6 * MiB);
    expect(other.source.reads.length).toBe(3);
    await check(other.reader, file, 6 * MiB, 30 * MiB);
    expect(other.source.reads.length).toBe(17);
  });

  it('gives chunks of a size that is asked for, also where they lie at both ends of its room', async () => {
    const { source, reader } = open({ f: file });
    await check(reader, file, 10, file.length, 3_000_007);
    expect(source.reads.length).toBe(Math.ceil(file.length / BLOCK));
    await check(reader, file, 4, file.length, 13 * MiB);
  });

  it('keeps what was used for tensors that lie a little before', async () => {
    const { source, reader } = open({ f: file });
    await check(reader, file, 0, 40 * MiB);
    const before = source.reads.length;
    await check(reader, file, 30 * MiB, 34 * MiB);
    await check(reader, file, 41 * MiB, 42 * MiB);
    expect(source.reads.slice(before).filter(({ start }) => start < 40 * MiB)).toEqual([]);
  });

  it('reads little that stands alone exactly, and nothing in vain for who reads here and there', async () => {
    const { source, reader } = open({ f: file });
    const places = [70 * MiB, 3 * MiB + 5, 40 * MiB, 5 * MiB, 40 * MiB + 100, 9 * MiB, 12 * MiB];
    for (const start of places) await check(reader, file, start, start + 100);
    expect(source.reads.map(({ start, end }) => [start, end - start])).toEqual(places.map(start => [start, 100]));
    source.reads.length = 0;
    // As tensors of one kind lie between those of another.
    for (const from of [0, 3 * MiB]) {
      for (let at = from; at + 3 * MiB <= file.length; at += 6 * MiB)
        await check(reader, file, at + 9, at + 3 * MiB + 9);
    }
    const bytes = source.reads.reduce((sum, { start, end }) => sum + end - start, 0);
    // Behind each 3 MiB, 1 or 2 MiB are read up to the end of a block: 1.5 times as much in the mean.
    expect(bytes).toBeLessThan(1.6 * file.length);
  });

  it('goes on ahead after a look back at little', async () => {
    const { source, reader } = open({ f: file });
    await check(reader, file, 0, 40 * MiB);
    await check(reader, file, 40 * MiB, 50 * MiB);
    source.reads.length = 0;
    await check(reader, file, MiB, MiB + 100);
    await check(reader, file, 50 * MiB, 52 * MiB);
    expect(source.reads.filter(({ start }) => start < 60 * MiB)).toEqual([{ file: 'f', start: MiB, end: MiB + 100 }]);
  });

  it('reads no gap after many looks back and jumps', async () => {
    const { source, reader } = open({ f: file });
    await check(reader, file, 0, 40 * MiB);
    for (const start of [3, 5, 40, 7, 60, 8, 59].map(at => at * MiB)) {
      source.reads.length = 0;
      await check(reader, file, start, start + 100);
      // A gap of a jump would be 20 blocks and more; ahead of a range 8 are read.
      expect(source.reads.length).toBeLessThanOrEqual(16);
      await check(reader, file, start + 100, start + 2 * MiB);
      expect(source.reads.length).toBeLessThanOrEqual(20);
    }
  });

  it('reads on after one who left early, and for a second stream beside the first', async () => {
    const { reader } = open({ f: file, g: file.subarray(4) });
    for await (const _ of reader.chunks('f', 0, 60 * MiB)) break;
    await check(reader, file, 50 * MiB, file.length);
    await Promise.all([
      check(reader, file, 100, 70 * MiB),
      check(reader, file, 5000, 60 * MiB),
      check(reader, file.subarray(4), 0, 30 * MiB, MiB, 'g'),
    ]);
    await check(reader, file.subarray(4), 0, 30 * MiB, undefined, 'g');
  });

  it('tells of a failure those alone who need the bytes', async () => {
    const { source, reader } = open({ f: file });
    source.fails = start => start >= 4 * MiB && start < 6 * MiB;
    await check(reader, file, 100, 4 * MiB);
    await expect(check(reader, file, 3 * MiB, 5 * MiB)).rejects.toThrow('no bytes at 4194304');
    source.fails = () => false;
    await check(reader, file, 3 * MiB, 40 * MiB);
    await expect(check(reader, file, 70 * MiB, 80 * MiB)).rejects.toMatchObject({ code: 'IO_ERROR' });
    await expect(reader.chunks('none', 0, 4).next()).rejects.toMatchObject({ code: 'IO_ERROR' });
  });

  it('takes bytes that a source gives in memory of its own', async () => {
    const source: ModelSource = new MemorySource(new Map([['f', file]]));
    const reader = new AheadReader(source);
    await check(reader, file, 8, file.length);
  });
});
