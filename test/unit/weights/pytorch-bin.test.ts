import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { type Checkpoint, MemorySource, openCheckpoint } from '@quire/core/weights';
import { describe, expect, it } from 'vitest';
import { op, pickle, stateDict, storage, tensor, torchArchive } from '../../faults/writers/pickle.ts';

const fixtures = 'test/fixtures/pickle';

interface Expected {
  dtype: string;
  shape: number[];
  hex: string;
  sha256: string;
}
// Written by PyTorch itself: see test/oracles/pickle_fixtures.py.
const expected = JSON.parse(readFileSync(`${fixtures}/expected.json`, 'utf8')) as {
  files: Record<string, Record<string, Expected>>;
  tinyOpt: Record<string, Expected>;
};

function open(file: Uint8Array): Promise<Checkpoint> {
  return openCheckpoint(new MemorySource(new Map([['pytorch_model.bin', file]])));
}

async function bytesOf(checkpoint: Checkpoint, name: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of checkpoint.stream(checkpoint.tensors.get(name)!)) chunks.push(chunk.slice());
  return Buffer.concat(chunks);
}

async function expectTensors(
  checkpoint: Checkpoint,
  tensors: Record<string, Expected>,
  show: (bytes: Buffer) => string,
  field: 'hex' | 'sha256',
) {
  const names = Reflect.ownKeys(tensors) as string[];
  expect([...checkpoint.tensors.keys()].sort()).toEqual(names.sort());
  for (const name of names) {
    const { dtype, shape } = checkpoint.tensors.get(name)!;
    expect({ name, dtype, shape, bytes: show(await bytesOf(checkpoint, name)) }).toEqual({
      name,
      dtype: tensors[name]!.dtype,
      shape: tensors[name]!.shape,
      bytes: tensors[name]![field],
    });
  }
}

const hex = (bytes: Buffer) => bytes.toString('hex');
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('files that torch.save wrote', () => {
  it('gives every tensor of the bundled OPT checkpoint', async () => {
    const checkpoint = await open(readFileSync('models/tiny-opt/pytorch_model.bin'));
    expect(Object.keys(expected.tinyOpt)).toHaveLength(68);
    await expectTensors(checkpoint, expected.tinyOpt, sha256, 'sha256');
  });

  it.each(Object.keys(expected.files))('%s', async file => {
    await expectTensors(await open(readFileSync(`${fixtures}/${file}`)), expected.files[file]!, hex, 'hex');
  });

  it('reads a sharded checkpoint through its index', async () => {
    const names = ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin'];
    const files = ['pytorch_model.bin.index.json', ...names].map(
      file => [file, readFileSync(`${fixtures}/${file}`)] as const,
    );
    const checkpoint = await openCheckpoint(new MemorySource(new Map(files)));
    await expectTensors(checkpoint, Object.assign({}, ...names.map(name => expected.files[name])), hex, 'hex');
    expect(checkpoint.notices).toEqual([]);
  });

  const refused: Record<string, [code: string, message: RegExp]> = {
    'refused_transposed.bin': ['PK_STRIDE', /tensor "w".*strides \[1,6\] for shape \[6,4\]/],
    'refused_expanded.bin': ['PK_TENSOR', /4 elements from element 0.*within 1 elements/],
    'refused_legacy.bin': ['PK_LEGACY', /before 1\.6/],
    'refused_protocol_4.bin': ['PK_OPCODE', /protocol 4.*protocol 2/],
    'refused_nested.bin': ['PK_STRUCTURE', /tensor "state_dict".*a dictionary/],
    'refused_module.bin': ['PK_GLOBAL', /"torch\.nn\.modules\.container\.Sequential"/],
    'refused_complex.bin': ['PK_DTYPE', /"torch\.ComplexFloatStorage"/],
    'refused_int16.bin': ['PK_DTYPE', /"torch\.ShortStorage"/],
    'refused_list.bin': ['PK_STRUCTURE', /state dictionary/],
    'refused_sparse.bin': ['PK_GLOBAL', /_rebuild_sparse_tensor/],
    'refused_quantized.bin': ['PK_GLOBAL', /_rebuild_qtensor/],
    'refused_torchscript.bin': ['PK_COMPRESSED', /code\/__torch__/],
  };

  it('has a verdict for every fixture', () => {
    const found = readdirSync(fixtures).filter(file => file.endsWith('.bin'));
    expect(found.sort()).toEqual([...Object.keys(expected.files), ...Object.keys(refused)].sort());
  });

  it.each(Object.entries(refused))('refuses %s', async (file, [code, message]) => {
    const error = await open(readFileSync(`${fixtures}/${file}`)).catch(e => e);
    expect(error.name).toBe('ModelFormatError');
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
  });
});

describe('archives that a writer may make', () => {
  const tensorOf = async (file: Uint8Array, name = 'w') => [...(await bytesOf(await open(file), name))];
  const sixteen = Uint8Array.from({ length: 16 }, (_, i) => i);

  it('reads a view by its offset, and a storage that two tensors share', async () => {
    const file = torchArchive(stateDict({ w: tensor({ offset: op.int(2), shape: [2] }), all: tensor() }), {
      0: sixteen,
    });
    expect(await tensorOf(file)).toEqual([8, 9, 10, 11, 12, 13, 14, 15]);
    expect(await tensorOf(file, 'all')).toEqual([...sixteen]);
  });

  it('does not care for strides of dimensions of size 1, nor of empty tensors', async () => {
    const file = torchArchive(
      stateDict({
        w: tensor({ shape: [1, 4, 1], strides: [99, 1, 7] }),
        none: tensor({ shape: [0, 3], strides: [5, 5] }),
      }),
      { 0: sixteen },
    );
    expect(await tensorOf(file)).toEqual([...sixteen]);
    expect(await tensorOf(file, 'none')).toEqual([]);
  });

  it('takes any folder name, with and without zip64 records, and a comment', async () => {
    const data = stateDict({ w: tensor() });
    for (const options of [
      { root: 'pytorch_model' },
      { root: 'ünïcode' },
      { zip64: undefined },
      { comment: 'saved by hand' },
    ]) {
      expect(await tensorOf(torchArchive(data, { 0: sixteen }, options))).toEqual([...sixteen]);
    }
  });

  it('reads large integers, names from torch.storage, lists and floats among attributes, and byteorder little', async () => {
    const attributes = [
      ...op.emptyDict,
      ...op.text('_metadata'),
      ...op.emptyList,
      ...op.mark,
      ...op.none,
      ...op.float(0x3f, 0xf0, 0, 0, 0, 0, 0, 0),
      ...op.appends,
      ...op.setItem,
    ];
    const ordered = [...op.global('collections', 'OrderedDict'), ...op.emptyTuple, ...op.reduce];
    const value = tensor({
      storage: storage('0', 4, op.global('torch.storage', 'FloatStorage')),
      offset: op.long(0, 0),
    });
    const data = pickle(ordered, op.text('w'), value, op.setItem, attributes, op.build);
    const file = torchArchive(data, { 0: sixteen }, { more: [{ name: 'archive/byteorder', content: 'little' }] });
    expect(await tensorOf(file)).toEqual([...sixteen]);
  });

  it('passes values through the memo with short and long indices', async () => {
    const data = pickle(
      op.emptyDict,
      op.text('w'),
      tensor(),
      op.longPut(70_000),
      op.setItem,
      op.text('v'),
      op.longGet(70_000),
      op.setItem,
    );
    const checkpoint = await open(torchArchive(data, { 0: sixteen }));
    expect(checkpoint.tensors.get('v')).toEqual({ ...checkpoint.tensors.get('w'), name: 'v' });
  });
});

describe('a file cut off anywhere', () => {
  it('is refused at each of its bytes with a code of this format', async () => {
    const file = torchArchive(stateDict({ w: tensor() }));
    for (let length = 0; length < file.length; length++) {
      const error = await open(file.subarray(0, length)).catch(e => e);
      expect(error.code, `cut to ${length} bytes`).toMatch(length < 4 ? /^PK_MAGIC$/ : /^PK_ZIP$/);
    }
  });
});
