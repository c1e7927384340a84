import { readFileSync, writeFileSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import type { BadFolder, Content } from '../harness/bad-folder.ts';
import { ints, op, pickle, stateDict, storage, tensor, torchArchive } from '../writers/pickle.ts';
import { concat, entry, safetensors } from '../writers/safetensors.ts';
import { zip } from '../writers/zip.ts';

function bad(name: string, code: string, content: Content, message?: RegExp): BadFolder {
  return {
    name: `pickle: ${name}`,
    code,
    base: 'tiny-opt',
    files: { 'pytorch_model.bin': content },
    ...(message ? { message } : {}),
  };
}

/** For large files: made when the folder is. */
const made =
  (make: () => Uint8Array): Content =>
  path =>
    writeFileSync(path, make());
const fixture = (file: string) => new Uint8Array(readFileSync(`test/fixtures/pickle/${file}`));
const good = stateDict({ w: tensor() });
const sixteen = new Uint8Array(16);
/** A dictionary with one entry made of these opcodes. */
const value = (...pieces: (readonly number[])[]) => torchArchive(stateDict({ w: pieces.flat() }));
const program = (...pieces: (readonly number[] | Uint8Array)[]) => torchArchive(pickle(...pieces));
const call = (module: string, name: string, argument: string) => [
  ...op.global(module, name),
  ...op.text(argument),
  ...op.tuple1,
  ...op.reduce,
];
const part = { name: 'archive/data.pkl', content: good };
const data = { name: 'archive/data/0', content: sixteen };
const rest = { name: 'archive/version', content: '3\n' };

const evil: readonly [string, string][] = [
  ['os', 'system'],
  ['posix', 'system'],
  ['nt', 'system'],
  ['builtins', 'eval'],
  ['builtins', 'exec'],
  ['builtins', 'getattr'],
  ['__builtin__', 'eval'],
  ['subprocess', 'Popen'],
  ['runpy', '_run_code'],
  ['torch', 'load'],
  ['torch.hub', 'load'],
  ['torch.serialization', 'load'],
  ['torch._utils', '_rebuild_tensor'],
  ['torch._utils', '_rebuild_tensor_v2.__globals__'],
  ['torch', '__builtins__'],
  ['torch.jit._pickle', 'restore_type_tag'],
  ['numpy.core.multiarray', '_reconstruct'],
  ['_codecs', 'encode'],
  ['collections', 'OrderedDict.__init__'],
  ['collections.OrderedDict', ''],
  ['', 'collections.OrderedDict'],
  ['__proto__', 'constructor'],
];

const opcodes: readonly [string, readonly number[]][] = [
  ['STACK_GLOBAL', [...op.text('os'), ...op.text('system'), 0x93]],
  ['INST', [...op.mark, 0x69, ...Buffer.from('os\nsystem\n')]],
  ['OBJ', [...op.mark, ...op.global('collections', 'OrderedDict'), 0x6f]],
  ['NEWOBJ', [...op.global('collections', 'OrderedDict'), ...op.emptyTuple, 0x81]],
  ['NEWOBJ_EX', [0x92]],
  ['EXT1', [0x82, 1]],
  ['EXT2', [0x83, 1, 0]],
  ['EXT4', [0x84, 1, 0, 0, 0]],
  ['PERSID', [0x50, 0x30, 0x0a]],
  ['FRAME', [0x95, 0, 0, 0, 0, 0, 0, 0, 0]],
  ['MEMOIZE', [0x94]],
  ['LONG4', [0x8b, 4, 0, 0, 0, 0, 0, 0, 0]],
  ['INT', [0x49, 0x31, 0x0a]],
  ['STRING', [0x53, 0x27, 0x27, 0x0a]],
  ['BINBYTES', [0x42, 0, 0, 0, 0]],
  ['SHORT_BINSTRING', [0x55, 0]],
  ['BYTEARRAY8', [0x96, 0, 0, 0, 0, 0, 0, 0, 0]],
  ['NEXT_BUFFER', [0x97]],
  ['POP', [0x4e, 0x30]],
  ['DUP', [0x4e, 0x32]],
  ['a second PROTO', [0x80, 2]],
  ['byte 0', [0]],
  ['byte 255', [255]],
];

export const pickleCases: BadFolder[] = [
  bad('an empty file', 'PK_MAGIC', ''),
  bad('one byte', 'PK_MAGIC', 'P'),
  bad('the magic of a zip archive alone', 'PK_ZIP', 'PK\u0003\u0004'),
  bad('safetensors by its content', 'PK_MAGIC', safetensors({ w: entry([2], [0, 8]) }, 8), /safetensors/),
  bad('a Git LFS pointer', 'PK_MAGIC', 'version https://git-lfs.github.com/spec/v1\n', /git lfs pull/),
  bad('the format before PyTorch 1.6', 'PK_LEGACY', fixture('refused_legacy.bin'), /safetensors/),
  bad('a bare pickle', 'PK_LEGACY', good),
  bad('a tar archive', 'PK_LEGACY', concat(new Uint8Array(257), 'ustar', new Uint8Array(250))),
  bad('gzip', 'PK_MAGIC', concat([0x1f, 0x8b, 8, 0], new Uint8Array(40)), /gzip/),

  // What a pickle may not do.
  ...evil.map(([module, name]) =>
    bad(
      `the name ${module}.${name}`,
      'PK_GLOBAL',
      value(call(module, name, 'touch /tmp/quire-was-here')),
      /not allowed/,
    ),
  ),
  bad(
    'the name os.system deep in a tensor',
    'PK_GLOBAL',
    value(tensor({ offset: call('os', 'system', 'true') })),
    /"os\.system"/,
  ),
  bad(
    'the name os.system in attributes',
    'PK_GLOBAL',
    program(op.emptyDict, op.emptyDict, op.text('x'), call('os', 'system', 'true'), op.setItem, op.build),
  ),
  ...opcodes.map(([name, bytes]) => bad(`the opcode ${name}`, 'PK_OPCODE', value(bytes), /byte \d+.*opcode 0x/)),
  bad('protocol 4', 'PK_OPCODE', fixture('refused_protocol_4.bin')),
  bad('protocol 0', 'PK_PICKLE', torchArchive(new Uint8Array(Buffer.from('(dp0\n.')))),
  bad('a whole module', 'PK_GLOBAL', fixture('refused_module.bin')),
  bad('TorchScript', 'PK_COMPRESSED', fixture('refused_torchscript.bin')),
  bad('complex numbers', 'PK_DTYPE', fixture('refused_complex.bin')),
  bad('a quantized tensor', 'PK_GLOBAL', fixture('refused_quantized.bin')),

  // A pickle that does not hold together.
  bad('an empty pickle', 'PK_PICKLE', torchArchive(new Uint8Array(0))),
  bad('a pickle without its end', 'PK_PICKLE', torchArchive(good.slice(0, -1))),
  bad('bytes after the end', 'PK_PICKLE', torchArchive(concat(good, [0]))),
  bad('an end without a value', 'PK_PICKLE', program()),
  bad('two values at the end', 'PK_PICKLE', program(op.none, op.emptyDict)),
  bad('an open mark at the end', 'PK_PICKLE', program(op.mark, op.emptyDict)),
  bad('a mark that was not opened', 'PK_PICKLE', value(op.tuple)),
  bad('a tuple of more than there is', 'PK_PICKLE', program(op.none, op.tuple3)),
  bad('a tuple across a mark', 'PK_PICKLE', program(op.none, op.mark, op.none, op.tuple2)),
  bad('an index that was never remembered', 'PK_PICKLE', value(op.get(9))),
  bad('remembering nothing', 'PK_PICKLE', program(op.put(0))),
  bad('a call of a string', 'PK_PICKLE', value(op.text('os.system'), op.emptyTuple, op.reduce)),
  bad('a call of a storage type', 'PK_PICKLE', value(op.global('torch', 'FloatStorage'), op.emptyTuple, op.reduce)),
  bad('a call without a tuple', 'PK_PICKLE', value(op.global('collections', 'OrderedDict'), op.none, op.reduce)),
  bad(
    'OrderedDict with arguments',
    'PK_PICKLE',
    value(op.global('collections', 'OrderedDict'), op.none, op.tuple1, op.reduce),
  ),
  bad(
    'a tensor without arguments',
    'PK_PICKLE',
    value(op.global('torch._utils', '_rebuild_tensor_v2'), op.emptyTuple, op.reduce),
  ),
  bad(
    'a parameter of a string',
    'PK_PICKLE',
    value(op.global('torch._utils', '_rebuild_parameter'), op.text('w'), op.true, op.none, op.tuple3, op.reduce),
  ),
  bad('attributes of a tensor', 'PK_PICKLE', value(tensor(), op.emptyDict, op.build)),
  bad('an item of a tensor', 'PK_PICKLE', value(tensor(), op.text('a'), op.none, op.setItem)),
  bad('an item appended to a dictionary', 'PK_PICKLE', value(op.emptyDict, op.none, op.append)),
  bad('a key that is a number', 'PK_PICKLE', program(op.emptyDict, op.int(1), tensor(), op.setItem)),
  bad(
    'a key twice',
    'PK_PICKLE',
    program(op.emptyDict, op.text('w'), tensor(), op.setItem, op.text('w'), tensor(), op.setItem),
  ),
  bad('an odd number of items', 'PK_PICKLE', program(op.emptyDict, op.mark, op.text('w'), op.setItems)),
  bad('a string that is not UTF-8', 'PK_PICKLE', program([0x58, 2, 0, 0, 0, 0xc0, 0xaf])),
  bad('a string longer than the file', 'PK_LIMIT', program([0x58, 0xff, 0xff, 0xff, 0xff])),
  bad('a name without an end', 'PK_PICKLE', program([0x63, ...Buffer.from('collections')])),
  bad('a storage of three fields', 'PK_PICKLE', value(op.text('storage'), op.none, op.none, op.tuple3, op.persId)),
  bad(
    'a storage with another tag',
    'PK_PICKLE',
    value(
      op.mark,
      op.text('module'),
      op.global('torch', 'FloatStorage'),
      op.text('0'),
      op.text('cpu'),
      op.int(4),
      op.tuple,
      op.persId,
    ),
  ),
  bad('a storage of negative length', 'PK_PICKLE', value(storage('0', -4))),
  bad('a negative dimension', 'PK_PICKLE', value(tensor({ shape: [-4], strides: [1] }))),
  bad('a negative offset', 'PK_PICKLE', value(tensor({ offset: op.int(-1) }))),
  bad('an offset that is a float', 'PK_PICKLE', value(tensor({ offset: op.float(0, 0, 0, 0, 0, 0, 0, 0) }))),
  bad('fewer strides than dimensions', 'PK_PICKLE', value(tensor({ shape: [2, 2], strides: [1] }))),
  bad('an offset of 2^63', 'PK_LIMIT', value(tensor({ offset: op.long(0, 0, 0, 0, 0, 0, 0, 0x80, 0) }))),
  bad('an integer of 255 bytes', 'PK_LIMIT', value(op.long(...new Array(255).fill(0x7f)))),

  // Bombs.
  bad(
    'a million open marks',
    'PK_LIMIT',
    made(() => torchArchive(concat(op.proto, new Uint8Array(1_000_000).fill(0x28)))),
  ),
  bad(
    'ten million values',
    'PK_LIMIT',
    made(() => torchArchive(concat(op.proto, new Uint8Array(10_000_000).fill(0x4e)))),
  ),
  bad(
    'fifteen million dictionaries',
    'PK_LIMIT',
    made(() => torchArchive(concat(op.proto, new Uint8Array(15_000_000).fill(0x7d)))),
  ),
  bad(
    'a million tuples, each of the one before',
    'PK_LIMIT',
    made(() => torchArchive(concat(op.proto, op.emptyTuple, new Uint8Array(1_000_000).fill(0x85), op.stop))),
  ),
  bad(
    'a list that doubles thirty times',
    'PK_STRUCTURE',
    program(op.emptyTuple, ...Array.from({ length: 30 }, (_, i) => [...op.put(i), ...op.get(i), ...op.tuple2])),
  ),
  bad(
    'a million remembered indices',
    'PK_LIMIT',
    made(() =>
      torchArchive(concat(op.proto, op.none, Array.from({ length: 500_000 }, (_, i) => op.longPut(i)).flat(), op.stop)),
    ),
  ),
  bad(
    'a pickle of 20 MB',
    'PK_LIMIT',
    made(() => torchArchive(new Uint8Array(20_000_000))),
  ),
  bad(
    'a dictionary that holds itself',
    'PK_STRUCTURE',
    program(op.emptyDict, op.put(0), op.text('w'), op.get(0), op.setItem),
  ),

  // Values that are no state dictionary.
  bad('None', 'PK_STRUCTURE', program(op.none)),
  bad('a list of tensors', 'PK_STRUCTURE', fixture('refused_list.bin')),
  bad('a tensor alone', 'PK_STRUCTURE', program(tensor())),
  bad('a training checkpoint', 'PK_STRUCTURE', fixture('refused_nested.bin'), /"state_dict"/),
  bad('an entry that is a number', 'PK_STRUCTURE', value(op.int(3))),
  bad('a name of 2,000 characters', 'PK_LIMIT', torchArchive(stateDict({ ['n'.repeat(2000)]: tensor() }))),

  // Tensors and storages.
  bad('a transposed tensor', 'PK_STRIDE', fixture('refused_transposed.bin'), /contiguous\(\)/),
  bad('an expanded tensor', 'PK_TENSOR', fixture('refused_expanded.bin')),
  bad('a tensor beyond its storage', 'PK_TENSOR', value(tensor({ shape: [5] }))),
  bad('an offset beyond the storage', 'PK_TENSOR', value(tensor({ offset: op.int(1) }))),
  bad('2^62 elements', 'PK_TENSOR', value(tensor({ shape: [2 ** 31 - 1, 2 ** 31 - 1], strides: [1, 1] }))),
  bad('nine dimensions', 'PK_TENSOR', value(tensor({ shape: [1, 1, 1, 1, 1, 1, 1, 1, 4] }))),
  bad('a hundred dimensions', 'PK_PICKLE', value(tensor({ shape: new Array(100).fill(1) }))),
  bad('a storage that the archive lacks', 'PK_ENTRY', value(tensor({ key: '7' })), /data\/7/),
  bad('a storage key that leaves the folder', 'PK_ENTRY', value(tensor({ key: '../data.pkl' }))),
  bad('a storage longer than its entry', 'PK_ENTRY', value(tensor({ length: 5 }))),
  bad('a storage shorter than its entry', 'PK_ENTRY', value(tensor({ length: 3, shape: [3] }))),
  bad(
    'two tensors that disagree on their storage',
    'PK_ENTRY',
    torchArchive(stateDict({ a: tensor(), b: tensor({ length: 3, shape: [3] }) })),
  ),
  bad(
    'big-endian bytes',
    'PK_BYTEORDER',
    torchArchive(good, undefined, { more: [{ name: 'archive/byteorder', content: 'big' }] }),
  ),

  // The archive.
  bad('no data.pkl', 'PK_ENTRY', zip([data, rest])),
  bad('two data.pkl', 'PK_ENTRY', torchArchive(good, undefined, { more: [{ name: 'other/data.pkl', content: good }] })),
  bad('no entry at all', 'PK_MAGIC', zip([])),
  bad(
    'a compressed data.pkl',
    'PK_COMPRESSED',
    zip([
      { ...part, content: new Uint8Array(deflateRawSync(good)), claims: { method: 8, size: good.length } },
      data,
      rest,
    ]),
  ),
  bad(
    'a zip bomb of 1 GiB',
    'PK_COMPRESSED',
    zip([
      part,
      {
        name: 'archive/data/0',
        content: new Uint8Array(1_000_000),
        claims: { method: 8, size: 2 ** 30, storedSize: 1_000_000 },
      },
    ]),
  ),
  bad(
    'a compressed entry that only its local header admits',
    'PK_ZIP',
    zip([{ ...part, claims: { localMethod: 8 } }, data]),
  ),
  bad('an encrypted entry', 'PK_ZIP', zip([{ ...part, claims: { flags: 1 } }, data])),
  bad('two entries of one name', 'PK_ZIP', zip([part, data, data])),
  ...['../data/0', '/data/0', 'archive/../../x', 'archive\\data', 'archive//0', 'C:/x', 'a\0b', '', './x'].map(name =>
    bad(`an entry named ${JSON.stringify(name)}`, 'PK_NAME', zip([part, data, { name, content: 'x' }])),
  ),
  bad('overlapping entries', 'PK_OVERLAP', zip([part, data, { ...rest, claims: { offset: 20 } }])),
  bad('an entry larger than its room', 'PK_OVERLAP', zip([part, { ...data, claims: { size: 4096 } }, rest])),
  bad(
    'a local header whose extra field is larger than its room',
    'PK_OVERLAP',
    zip([{ ...part, claims: { extraLength: 60_000 } }, data, rest]),
  ),
  bad('an offset beyond the file', 'PK_OVERLAP', zip([part, { ...data, claims: { offset: 2 ** 31 } }])),
  bad(
    'a local header with another name',
    'PK_ZIP',
    zip([{ ...part, claims: { localName: 'archive/data.pkk' } }, data]),
  ),
  bad('a local header with another size', 'PK_ZIP', zip([{ ...part, claims: { localSize: 5 } }, data])),
  bad('a local header with other flags', 'PK_ZIP', zip([{ ...part, claims: { localFlags: 8 } }, data])),
  bad('a storage without a local header', 'PK_ZIP', zip([part, { ...data, claims: { localMagic: 0 } }])),
  bad('too few entries announced', 'PK_ZIP', zip([part, data], { claims: { count: 1 } })),
  bad('too many entries announced', 'PK_ZIP', zip([part, data], { claims: { count: 3 } })),
  bad('30,000 entries announced', 'PK_LIMIT', zip([part, data], { claims: { count: 30_000 } })),
  bad('a directory that begins too late', 'PK_ZIP', zip([part, data], { claims: { directoryOffset: 2 ** 31 } })),
  bad('a directory that is too large', 'PK_ZIP', zip([part, data], { claims: { directorySize: 2 ** 31 } })),
  bad('a gap after the directory', 'PK_ZIP', zip([part, data], { gap: 5 })),
  bad('several disks', 'PK_ZIP', zip([part, data], { claims: { disk: 1 } })),
  bad('bytes after the archive', 'PK_ZIP', concat(torchArchive(good), 'more')),
  bad('bytes before the archive', 'PK_MAGIC', concat('more', torchArchive(good))),
  bad(
    'zip64: 2^64 - 1 entries',
    'PK_LIMIT',
    zip([part, data], { zip64: { count: 2n ** 64n - 1n }, claims: { count: 0xffff } }),
  ),
  bad('zip64: 2^32 entries', 'PK_LIMIT', zip([part, data], { zip64: { count: 2n ** 32n }, claims: { count: 0xffff } })),
  bad(
    'zip64: a directory at 2^63',
    'PK_ZIP',
    zip([part, data], { zip64: { directoryOffset: 2n ** 63n }, claims: { directoryOffset: 0xffffffff } }),
  ),
  bad('zip64: a record beyond the file', 'PK_ZIP', zip([part, data], { zip64: { recordOffset: 2n ** 62n } })),
  bad('zip64: a record of another length', 'PK_ZIP', zip([part, data], { zip64: { recordLength: 2n ** 63n } })),
  bad('zip64: records that disagree', 'PK_ZIP', zip([part, data], { zip64: { count: 1n } })),
  bad(
    'zip64: an entry of 2^63 bytes',
    'PK_OVERLAP',
    zip([
      part,
      {
        ...data,
        claims: {
          size: 0xffffffff,
          centralExtra: [1, 0, 16, 0, ...[0, 0, 0, 0, 0, 0, 0, 0x80], ...[0, 0, 0, 0, 0, 0, 0, 0x80]],
        },
      },
    ]),
  ),
  bad(
    'zip64: an entry of 4 GiB without its field',
    'PK_OVERLAP',
    zip([part, { ...data, claims: { size: 0xffffffff } }]),
  ),
  bad('an archive cut in the middle', 'PK_ZIP', torchArchive(good).slice(0, 300)),
  bad(
    'the bundled checkpoint, one byte short',
    'PK_ZIP',
    new Uint8Array(readFileSync('models/tiny-opt/pytorch_model.bin')).slice(0, -1),
  ),
  bad(
    'a tuple where sizes belong',
    'PK_PICKLE',
    value(
      op.global('torch._utils', '_rebuild_tensor_v2'),
      op.mark,
      storage(),
      op.int(0),
      op.none,
      ints([1]),
      op.false,
      op.none,
      op.tuple,
      op.reduce,
    ),
  ),
];
