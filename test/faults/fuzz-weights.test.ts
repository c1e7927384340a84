import { readFileSync } from 'node:fs';
import {
  type Checkpoint,
  checkpointDTypeBytes,
  MemorySource,
  ModelFormatError,
  openCheckpoint,
  openGguf,
} from '@quire/core/weights';
import { describe, expect, it } from 'vitest';
import { parseGenerationConfig, parseModelConfig } from '../../packages/core/src/models/parse-config.ts';
import { folderToGguf } from '../../scripts/gguf/folder-to-gguf.mjs';
import { goodGguf } from './cases/gguf.ts';
import { op, pickle, stateDict, storage, tensor, torchArchive } from './writers/pickle.ts';
import { entry, safetensors } from './writers/safetensors.ts';

// `npm run fuzz:weights` sets more runs; a failure prints the seed and the run that replay it.
const runs = Number(process.env.FUZZ_RUNS ?? 4000);
const seed = Number(process.env.FUZZ_SEED ?? 1);
const MAX_MILLISECONDS = 500;

/** Small fast generator of 32-bit integers (Mulberry32). */
function generator(state: number): () => number {
  let s = state >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), s | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

type Load = (bytes: Uint8Array) => Promise<void>;

async function checkpoint(file: string, bytes: Uint8Array, more: readonly [string, Uint8Array][] = []): Promise<void> {
  const files = new Map([[file, bytes], ...more]);
  await checkRanges(await openCheckpoint(new MemorySource(files)), files);
}

/** Whatever is accepted must lie in its file and be as long as dtype and shape say. */
async function checkRanges(opened: Checkpoint, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  for (const [name, t] of opened.tensors) {
    const elements = t.shape.reduce((product, size) => product * size, 1);
    if (
      t.name !== name ||
      !(t.start >= 0) ||
      !(t.end <= files.get(t.file)!.length) ||
      t.end - t.start !== elements * checkpointDTypeBytes[t.dtype]
    ) {
      throw new Error(`accepted ${JSON.stringify(t)} in ${files.get(t.file)!.length} bytes`);
    }
    let bytes = 0;
    for await (const chunk of opened.stream(t)) bytes += chunk.length;
    if (bytes !== t.end - t.start) throw new Error(`streamed ${bytes} bytes of ${JSON.stringify(t)}`);
  }
}

/** Of tensors that are shown in another dtype than they have: as many bytes as shape and dtype say. */
async function checkShown(opened: Checkpoint): Promise<void> {
  for (const t of opened.tensors.values()) {
    const elements = t.shape.reduce((product, size) => product * size, 1);
    let bytes = 0;
    for await (const chunk of opened.stream(t)) bytes += chunk.length;
    if (bytes !== elements * checkpointDTypeBytes[t.dtype])
      throw new Error(`streamed ${bytes} bytes of ${JSON.stringify(t)}`);
  }
}

const shard = safetensors({ a: entry([1], [0, 4]) }, 4);
const fixture = (name: string) => new Uint8Array(readFileSync(`test/fixtures/pickle/${name}`));
const asSafetensors: Load = bytes => checkpoint('model.safetensors', bytes);
const asIndex: Load = bytes => checkpoint('model.safetensors.index.json', bytes, [['a.safetensors', shard]]);
const asTorch: Load = bytes => checkpoint('pytorch_model.bin', bytes);
const asConfig: Load = async bytes =>
  void (await parseModelConfig(new MemorySource(new Map([['config.json', bytes]]))));
const asGeneration: Load = async bytes =>
  void (await parseGenerationConfig(new MemorySource(new Map([['generation_config.json', bytes]]))));
const asGguf: Load = async bytes => {
  const source = await openGguf(new MemorySource(new Map([['m.gguf', bytes]])), 'm.gguf');
  await checkShown(await openCheckpoint(source));
};
const json = (value: unknown) => new Uint8Array(Buffer.from(JSON.stringify(value)));

const seeds: readonly (readonly [name: string, bytes: Uint8Array, load: Load])[] = [
  ['one tensor', safetensors({ w: entry([2, 2], [0, 16]) }, 16), asSafetensors],
  [
    'several tensors',
    safetensors(
      {
        __metadata__: { format: 'pt', note: 'é🦊' },
        b: entry([3], [4, 10], 'F16'),
        a: entry([1], [0, 4]),
        e: entry([0], [10, 10]),
      },
      10,
    ),
    asSafetensors,
  ],
  ['padded header', safetensors(`  {"a\\u0062":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}   `, 1), asSafetensors],
  [
    'forty tensors',
    safetensors(
      Object.fromEntries(
        Array.from({ length: 40 }, (_, i) => [`model.layers.${i}.weight`, entry([2], [4 * i, 4 * i + 4], 'BF16')]),
      ),
      160,
    ),
    asSafetensors,
  ],
  ['index', json({ metadata: { total_size: 4 }, weight_map: { a: 'a.safetensors' } }), asIndex],
  ['index with more', json({ weight_map: { a: 'a.safetensors' }, other: [1, { weight_map: {} }] }), asIndex],
  ['archive by hand', torchArchive(stateDict({ w: tensor() })), asTorch],
  [
    'archive without zip64',
    torchArchive(stateDict({ w: tensor({ shape: [2, 2] }), v: tensor({ offset: op.int(1), shape: [3] }) }), undefined, {
      zip64: undefined,
    }),
    asTorch,
  ],
  [
    'archive with attributes',
    torchArchive(
      pickle(
        op.emptyDict,
        op.put(0),
        op.mark,
        op.text('w'),
        tensor({ storage: storage() }),
        op.setItems,
        op.emptyDict,
        op.build,
      ),
    ),
    asTorch,
  ],
  ...[
    'odd.bin',
    'shared.bin',
    'module_state.bin',
    'parameters.bin',
    'dtypes.bin',
    'refused_nested.bin',
    'refused_module.bin',
    'refused_torchscript.bin',
  ].map(name => [name, fixture(name), asTorch] as const),
  ['GGUF', goodGguf, asGguf],
  ['GGUF of a model', folderToGguf('test/fixtures/models/qwen3-tied', 'F16'), asGguf],
  ['Llama config', new Uint8Array(readFileSync('models/tiny-llama/config.json')), asConfig],
  ['OPT config', new Uint8Array(readFileSync('models/tiny-opt/config.json')), asConfig],
  ['generation config', json({ eos_token_id: [2, 0], temperature: 0.5, top_k: 3, top_p: 0.25 }), asGeneration],
];

const extremes = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  1n << 53n,
  (1n << 63n) - 1n,
  (1n << 64n) - 1n,
];
const words = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '0',
  '-1',
  '1e9',
  'null',
  'true',
  '"a"',
  '\\u0000',
  '9007199254740993',
  'PK\u0001\u0002',
  'PK\u0005\u0006',
  '(',
  'R',
  'Q',
  'cos\nsystem\n',
  '.',
  '\u0080\u0002',
];

function mutate(bytes: Uint8Array, random: () => number): Uint8Array {
  const at = random() % (bytes.length + 1);
  const to = Math.min(bytes.length, at + 1 + (random() % 16));
  const put = (middle: Uint8Array, from: number, until: number) =>
    new Uint8Array(Buffer.concat([bytes.subarray(0, from), middle, bytes.subarray(until)]));
  switch (random() % 8) {
    case 0:
      return put(Uint8Array.of(random() & 0xff), at, Math.min(bytes.length, at + 1));
    case 1:
      return put(Uint8Array.of((bytes[at] ?? 0) ^ (1 << (random() % 8))), at, Math.min(bytes.length, at + 1));
    case 2:
      return put(new Uint8Array(0), at, to);
    case 3:
      return put(bytes.subarray(at, to), to, to);
    case 4:
      return bytes.slice(0, at);
    case 5:
      return put(Buffer.from(words[random() % words.length]!, 'latin1'), at, random() % 2 === 0 ? at : to);
    case 6: {
      const number = Buffer.alloc(8);
      number.writeBigUInt64LE(extremes[random() % extremes.length]!);
      const size = [1, 2, 4, 8][random() % 4]!;
      return put(number.subarray(0, size), at, Math.min(bytes.length, at + size));
    }
    default: {
      const from = random() % (bytes.length + 1);
      return put(bytes.subarray(from, from + (random() % 64)), at, at);
    }
  }
}

describe('mutations of good files', () => {
  it.each(seeds)('%s', { timeout: 24 * 3_600_000 }, async (name, bytes, load) => {
    const each = Math.ceil(runs / seeds.length);
    const counts = { accepted: 0, refused: 0 };
    for (let run = 0; run < each; run++) {
      const random = generator(seed * 1_000_003 + run);
      let changed = bytes;
      for (let k = 0; k <= random() % 4; k++) changed = mutate(changed, random);
      const replay = `${name}, FUZZ_SEED=${seed}, run ${run}: ${Buffer.from(changed).toString('base64').slice(0, 4000)}`;
      const cpu = process.cpuUsage();
      try {
        await load(changed);
        counts.accepted++;
      } catch (error) {
        if (!(error instanceof ModelFormatError))
          throw new Error(`${replay}\n${error instanceof Error ? error.stack : error}`);
        if (error.message.length > 1500) throw new Error(`${replay}: a message of ${error.message.length} characters`);
        counts.refused++;
      }
      const { user, system } = process.cpuUsage(cpu);
      if ((user + system) / 1000 > MAX_MILLISECONDS) throw new Error(`${replay}: ${(user + system) / 1000} ms`);
    }
    // A fuzzer whose every input is refused, or accepted, tests nothing.
    expect(counts.refused).toBeGreaterThan(each / 10);
    if (!name.startsWith('refused')) expect(counts.accepted).toBeGreaterThan(0);
  });
});
