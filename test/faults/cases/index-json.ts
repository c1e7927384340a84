import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BadFolder, Content } from '../harness/bad-folder.ts';
import { stateDict, tensor, torchArchive } from '../writers/pickle.ts';
import { entry, safetensors } from '../writers/safetensors.ts';

const INDEX = 'model.safetensors.index.json';
const a = safetensors({ a: entry([1], [0, 4]) }, 4);
const b = safetensors({ b: entry([1], [0, 4]) }, 4);
const map = (weightMap: unknown) => ({ metadata: {}, weight_map: weightMap });

function bad(name: string, code: string, index: Content, more: Partial<BadFolder> = {}): BadFolder {
  return {
    name: `index: ${name}`,
    code,
    ...more,
    files: { [INDEX]: index, 'a.safetensors': a, 'b.safetensors': b, ...more.files },
  };
}

const toA = (arrange: (folder: string, outside: string) => void): Partial<BadFolder> => ({
  files: { 'a.safetensors': null },
  arrange,
});

export const indexCases: BadFolder[] = [
  bad('an empty file', 'IX_JSON', ''),
  bad('not JSON', 'IX_JSON', 'weight_map: {}'),
  bad('not UTF-8', 'IX_JSON', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])),
  bad('an array', 'IX_JSON', []),
  bad('null', 'IX_JSON', 'null'),
  bad('a cut file', 'IX_JSON', '{"weight_map":{"a":"a.safetensors"'),
  bad('no weight_map', 'IX_MAP', { metadata: {} }),
  bad('weight_map null', 'IX_MAP', map(null)),
  bad('weight_map an array', 'IX_MAP', map(['a.safetensors'])),
  bad('weight_map a string', 'IX_MAP', map('a.safetensors')),
  bad('weight_map empty', 'IX_MAP', map({})),
  bad('a file name that is a number', 'IX_ENTRY', map({ a: 1 })),
  bad('a file name that is null', 'IX_ENTRY', map({ a: null })),
  bad('a file name that is an object', 'IX_ENTRY', map({ a: { file: 'a.safetensors' } })),
  bad('a file name that is an array', 'IX_ENTRY', map({ a: ['a.safetensors'] })),
  bad('a tensor twice', 'IX_DUP', '{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}'),
  bad('weight_map twice', 'IX_DUP', '{"weight_map":{"a":"a.safetensors"},"weight_map":{"b":"b.safetensors"}}'),
  ...[
    '../x.safetensors',
    '..',
    '.',
    '',
    'a/../../x',
    '/etc/passwd',
    'sub/a.safetensors',
    'C:\\x',
    'C:x',
    '\\\\host\\x',
    'a.safetensors\0',
    'http://host/x',
    'file:x',
    '..\\x',
    'x\ny',
  ].map(name => bad(`the file ${JSON.stringify(name)}`, 'IX_PATH', map({ a: name }))),
  bad('a file name of 5,000 characters', 'IX_LIMIT', map({ a: 'n'.repeat(5000) })),
  bad('a tensor name of 2,000 characters', 'IX_LIMIT', map({ ['n'.repeat(2000)]: 'a.safetensors' })),
  bad('a missing shard', 'IX_SHARD', map({ a: 'a.safetensors', c: 'c.safetensors' }), { message: /no c\.safetensors/ }),
  bad('a shard whose name differs in case', 'IX_SHARD', map({ a: 'A.safetensors' })),
  bad('a tensor that its shard lacks', 'IX_TENSOR', map({ a: 'a.safetensors', c: 'a.safetensors' })),
  bad('a tensor whose name differs in case', 'IX_UNLISTED', map({ A: 'a.safetensors' })),
  bad('a tensor that is not listed', 'IX_UNLISTED', map({ a: 'a.safetensors', c: 'b.safetensors' })),
  bad('a tensor in two shards', 'IX_TWICE', map({ a: 'a.safetensors', b: 'b.safetensors' }), {
    files: { 'b.safetensors': safetensors({ b: entry([1], [0, 4]), a: entry([1], [4, 8]) }, 8) },
  }),
  bad("tensors in each other's shard", 'IX_TWICE', map({ a: 'b.safetensors', b: 'a.safetensors' })),
  bad('an empty shard', 'ST_TOO_SMALL', map({ a: 'a.safetensors' }), { files: { 'a.safetensors': '' } }),
  bad('the index as its own shard', 'ST_HEADER_LEN', map({ a: INDEX })),
  bad(
    '1,001 shards',
    'IX_LIMIT',
    map(Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`t${i}`, `${i}.safetensors`]))),
  ),
  bad('a million entries', 'IX_LIMIT', path => {
    writeFileSync(
      path,
      `{"weight_map":{${Array.from({ length: 1_000_000 }, (_, i) => `"model.layers.${i}.weight":"a.safetensors"`).join(',')}}}`,
    );
  }),
  bad('199,000 entries that no shard holds', 'IX_UNLISTED', path => {
    writeFileSync(
      path,
      `{"weight_map":{${Array.from({ length: 199_000 }, (_, i) => `"model.layers.${i}.weight":"a.safetensors"`).join(',')}}}`,
    );
  }),
  bad(
    'a shard that is a link out of the folder',
    'FS_LINK',
    map({ a: 'a.safetensors' }),
    toA((folder, outside) => {
      writeFileSync(join(outside, 'a.safetensors'), a);
      symlinkSync(join(outside, 'a.safetensors'), join(folder, 'a.safetensors'));
    }),
  ),
  bad(
    'a shard that is a relative link to a twin of the folder',
    'FS_LINK',
    map({ a: 'a.safetensors' }),
    toA(folder => {
      mkdirSync(`${folder}_evil`, { recursive: true });
      writeFileSync(join(`${folder}_evil`, 'a.safetensors'), a);
      symlinkSync(join('..', `${folder.split('/').at(-1)}_evil`, 'a.safetensors'), join(folder, 'a.safetensors'));
    }),
  ),
  bad(
    'a shard that is a loop of links',
    'FS_LINK',
    map({ a: 'a.safetensors' }),
    toA(folder => symlinkSync('a.safetensors', join(folder, 'a.safetensors'))),
  ),
  bad(
    'a shard that is a link to nothing',
    'IO_ERROR',
    map({ a: 'a.safetensors' }),
    toA(folder => symlinkSync('gone', join(folder, 'a.safetensors'))),
  ),
  bad(
    'a shard that is a link to a device',
    'FS_LINK',
    map({ a: 'a.safetensors' }),
    toA(folder => symlinkSync('/dev/zero', join(folder, 'a.safetensors'))),
  ),
  bad(
    'a shard that is a directory',
    'FS_NOT_REGULAR',
    map({ a: 'a.safetensors' }),
    toA(folder => mkdirSync(join(folder, 'a.safetensors'))),
  ),
  bad(
    'a shard that is a FIFO',
    'FS_NOT_REGULAR',
    map({ a: 'a.safetensors' }),
    toA(folder => execFileSync('mkfifo', [join(folder, 'a.safetensors')])),
  ),
  {
    name: 'index: a torch shard that is missing',
    code: 'IX_SHARD',
    base: 'tiny-opt',
    files: { 'pytorch_model.bin.index.json': map({ a: 'pytorch_model-00001-of-00001.bin' }) },
  },
  {
    name: 'index: torch shards with a tensor that is not listed',
    code: 'IX_UNLISTED',
    base: 'tiny-opt',
    files: {
      'pytorch_model.bin.index.json': map({ w: 'x.bin' }),
      'x.bin': torchArchive(stateDict({ w: tensor(), v: tensor() })),
    },
  },
];
