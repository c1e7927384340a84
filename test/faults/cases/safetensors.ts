import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import type { BadFolder, Content } from '../harness/bad-folder.ts';
import { torchArchive } from '../writers/pickle.ts';
import { concat, entry, safetensors, u64 } from '../writers/safetensors.ts';

const MIB = 2 ** 20;

function bad(name: string, code: string, content: Content, message?: RegExp): BadFolder {
  return {
    name: `safetensors: ${name}`,
    code,
    files: { 'model.safetensors': content },
    ...(message ? { message } : {}),
  };
}

/** Writes a file of many pieces without holding it in memory. */
function pieces(headerLength: number, write: (put: (text: string) => void) => void): Content {
  return path => {
    const fd = openSync(path, 'w');
    writeSync(fd, u64(headerLength));
    write(text => writeSync(fd, text));
    closeSync(fd);
    // Whatever was written, the file is as long as its header claims.
    truncateSync(path, 8 + headerLength);
  };
}

/** One entry `w` that is right but for what is replaced. */
const one = (fields: object, data = 8) => safetensors({ w: { ...entry([2], [0, 8]), ...fields } }, data);
const raw = (json: string, data = 8) => safetensors(json, data);
const f32 = (begin: number, end: number) => entry([(end - begin) / 4], [begin, end]);
const numberIn = (shape: string) => raw(`{"w":{"dtype":"F32","shape":[${shape}],"data_offsets":[0,8]}}`);
const offsets = (text: string) => raw(`{"w":{"dtype":"F32","shape":[2],"data_offsets":${text}}}`);
const text = (bytes: readonly number[]) =>
  safetensors(concat('{"', bytes, '":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'), 8);
const valid = '{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}';

export const safetensorsCases: BadFolder[] = [
  bad('an empty file', 'ST_TOO_SMALL', ''),
  bad('one byte', 'ST_TOO_SMALL', 'x'),
  bad('seven bytes', 'ST_TOO_SMALL', '1234567'),
  bad('header length 0', 'ST_HEADER_LEN', u64(0)),
  bad('header length one beyond the file', 'ST_HEADER_LEN', concat(u64(3), '{}')),
  bad('header length 2^63', 'ST_HEADER_LEN', concat(u64(2n ** 63n), valid)),
  bad('header length 2^64 - 1', 'ST_HEADER_LEN', concat(u64(2n ** 64n - 1n), valid)),
  bad('header length 100,000,001', 'ST_HEADER_LEN', path => {
    writeFileSync(path, concat(u64(100_000_001), '{}'));
    truncateSync(path, 100_000_009);
  }),
  bad('a header without tensors before 100 MB of nothing', 'ST_OFFS', path => {
    writeFileSync(path, safetensors({}));
    truncateSync(path, 100_000_000);
  }),
  bad('a zip archive by its content', 'ST_HEADER_LEN', torchArchive(new Uint8Array(0)), /zip archive/),
  bad(
    'a Git LFS pointer',
    'ST_HEADER_LEN',
    'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n',
    /git lfs pull/,
  ),
  bad('an HTML page', 'ST_HEADER_LEN', '<!DOCTYPE html><html><body>404</body></html>', /HTML/),
  bad('data one byte short', 'ST_TRUNC', raw(valid, 7)),
  bad('data missing', 'ST_TRUNC', raw(valid, 0)),
  bad('one byte too many', 'ST_OFFS', raw(valid, 9)),

  bad('an overlong form in a name', 'ST_UTF8', text([0xc0, 0xaf])),
  bad('a surrogate in a name', 'ST_UTF8', text([0xed, 0xa0, 0x80])),
  bad('a cut sequence in a name', 'ST_UTF8', text([0xe2, 0x82])),
  bad('an escaped half of a pair in a name', 'ST_UTF8', raw('{"\\ud800":1}')),
  bad('a byte order mark', 'ST_JSON', raw(`\ufeff${valid}`)),
  bad('an empty header', 'ST_JSON', raw('  ')),
  bad('an array', 'ST_JSON', raw('[]', 0)),
  bad('null', 'ST_JSON', raw('null', 0)),
  bad('a number', 'ST_JSON', raw('42', 0)),
  bad('a string', 'ST_JSON', raw('"w"', 0)),
  bad('NaN', 'ST_JSON', numberIn('NaN')),
  bad('Infinity', 'ST_JSON', numberIn('Infinity')),
  bad('a hexadecimal number', 'ST_JSON', numberIn('0x2')),
  bad('a leading zero', 'ST_JSON', numberIn('02')),
  bad('a trailing comma', 'ST_JSON', raw(valid.replace(/}$/, ',}'))),
  bad('a comment', 'ST_JSON', raw(`/* tensors */${valid}`)),
  bad('single quotes', 'ST_JSON', raw(valid.replaceAll('"', "'"))),
  bad('a second value', 'ST_JSON', raw(`${valid}{}`)),
  bad('zero bytes as padding', 'ST_JSON', raw(`${valid}\0\0`)),
  bad('an unterminated header', 'ST_JSON', raw(valid.slice(0, -1))),
  bad('an unterminated string', 'ST_JSON', raw('{"w')),
  bad('a control character in a name', 'ST_JSON', raw('{"w\n":1}')),
  bad('100,000 levels', 'ST_LIMIT', raw(`{"w":${'['.repeat(100_000)}`)),

  bad('a name twice', 'ST_DUP', raw(`{${valid.slice(1, -1)},${valid.slice(1, -1)}}`), /"w" twice/),
  bad('a name twice, once behind an escape', 'ST_DUP', raw(`{${valid.slice(1, -1)},"\\u0077":1}`)),
  bad('__metadata__ twice', 'ST_DUP', raw('{"__metadata__":{},"__metadata__":{}}', 0)),
  bad('dtype twice', 'ST_DUP', raw('{"w":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}}')),
  bad('a key of __metadata__ twice', 'ST_DUP', raw('{"__metadata__":{"a":"1","a":"2"}}', 0)),

  bad('no dtype', 'ST_ENTRY', one({ dtype: undefined })),
  bad('no shape', 'ST_ENTRY', one({ shape: undefined })),
  bad('no data_offsets', 'ST_ENTRY', one({ data_offsets: undefined })),
  bad('an entry that is null', 'ST_ENTRY', raw('{"w":null}')),
  bad('an entry that is an array', 'ST_ENTRY', raw('{"w":[]}')),
  bad('an entry that is a string', 'ST_ENTRY', raw('{"w":"F32"}')),
  bad('an entry that is a number', 'ST_ENTRY', raw('{"w":8}')),
  bad('dtype a number', 'ST_ENTRY', one({ dtype: 1 })),
  bad('dtype null', 'ST_ENTRY', one({ dtype: null })),
  bad('shape an object', 'ST_ENTRY', one({ shape: { 0: 2 } })),
  bad('shape a number', 'ST_ENTRY', one({ shape: 2 })),
  bad('data_offsets a string', 'ST_ENTRY', one({ data_offsets: '0-8' })),
  bad('an entry with a thousand extra values', 'ST_ENTRY', one({ extra: new Array(1000).fill(0) })),
  ...['FLOAT32', 'f32', 'F8_E5M2', 'F4', 'C64', 'U16', '', 'F32\0', '__proto__'].map(dtype =>
    bad(`dtype ${JSON.stringify(dtype)}`, 'ST_DTYPE', one({ dtype }), /expected one of F64, F32/i),
  ),

  ...['-2', '1.5', '2.0', '1e2', '"2"', 'null', '[2]', '9007199254740993', '18446744073709551615', '-0', 'true'].map(
    size => bad(`a dimension ${size}`, 'ST_SHAPE', numberIn(size)),
  ),
  bad('a dimension 2^31 without the data', 'ST_OFFS', numberIn('2147483648')),
  bad('a dimension of 60 digits', 'ST_SHAPE', numberIn('9'.repeat(60))),
  bad('a dimension of 1,000 digits', 'ST_LIMIT', numberIn('9'.repeat(1000))),
  bad('nine dimensions', 'ST_SHAPE', numberIn('1,1,1,1,1,1,1,1,2')),
  bad('2^32 x 2^32 elements', 'ST_SHAPE', numberIn('4294967296,4294967296')),
  bad('2^53 - 1 elements of 4 bytes', 'ST_SHAPE', numberIn('9007199254740991')),
  bad('a product that is 0 after it overflowed', 'ST_SHAPE', numberIn('9007199254740991,9007199254740991,0')),

  bad('offsets reversed', 'ST_OFFS', offsets('[8,0]')),
  bad('offsets negative', 'ST_OFFS', offsets('[-8,0]')),
  bad('offsets with a fraction', 'ST_OFFS', offsets('[0,8.0]')),
  bad('three offsets', 'ST_OFFS', offsets('[0,8,8]')),
  bad('one offset', 'ST_OFFS', offsets('[8]')),
  bad('no offset', 'ST_OFFS', offsets('[]')),
  bad('offsets beyond 2^53', 'ST_OFFS', offsets('[0,18446744073709551616]')),
  bad('offsets that do not fit the shape', 'ST_OFFS', one({ shape: [3] }, 12)),
  bad('a hole', 'ST_OFFS', safetensors({ a: f32(0, 4), b: f32(8, 12) }, 12)),
  bad('an overlap', 'ST_OFFS', safetensors({ a: f32(0, 8), b: f32(4, 12) }, 12), /overlaps/),
  bad('the same range twice', 'ST_OFFS', safetensors({ a: f32(0, 8), b: f32(0, 8) }, 8)),
  bad('data that does not begin at 0', 'ST_OFFS', safetensors({ a: f32(4, 8) }, 8)),
  bad('an empty tensor outside', 'ST_TRUNC', safetensors({ a: f32(0, 8), b: entry([0], [100, 100]) }, 8)),
  bad('an empty tensor within another', 'ST_OFFS', safetensors({ a: f32(0, 8), b: entry([0], [4, 4]) }, 8)),

  bad('__metadata__ with a number', 'ST_META', raw('{"__metadata__":{"a":1}}', 0)),
  bad('__metadata__ with an object', 'ST_META', raw('{"__metadata__":{"a":{}}}', 0)),
  bad('__metadata__ with an array', 'ST_META', raw('{"__metadata__":{"a":[]}}', 0)),
  bad('__metadata__ with null', 'ST_META', raw('{"__metadata__":{"a":null}}', 0)),
  bad('__metadata__ a string', 'ST_META', raw('{"__metadata__":"a"}', 0)),
  bad('__metadata__ an array', 'ST_META', raw('{"__metadata__":[]}', 0)),
  bad(
    '__metadata__ with 100,000 keys',
    'ST_LIMIT',
    safetensors({ __metadata__: Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [i, ''])) }),
  ),
  bad('a name of 1 MB', 'ST_LIMIT', safetensors({ ['n'.repeat(MIB)]: entry([2], [0, 8]) }, 8)),

  bad(
    'a header of 100 MB of spaces',
    'ST_JSON',
    pieces(100_000_000, put => {
      for (let i = 0; i < 95; i++) put(' '.repeat(MIB));
    }),
  ),
  bad(
    'a header of 100 MB in one metadata string',
    'ST_JSON',
    pieces(100_000_000, put => {
      put('{"__metadata__":{"a":"');
      for (let i = 0; i < 95; i++) put('é'.repeat(MIB / 2));
    }),
  ),
  bad(
    'a header of 35 MB in small keys',
    'ST_LIMIT',
    pieces(35_000_000, put => {
      put('{"__metadata__":{');
      for (let i = 0; i < 3500; i++)
        put(Array.from({ length: 1000 }, (_, k) => `"${(i * 1000 + k).toString(36)}":"",`).join(''));
    }),
  ),
  bad(
    'a header of 100 MB in numbers',
    'ST_ENTRY',
    pieces(100_000_000, put => {
      put('{"w":{"shape":[');
      for (let i = 0; i < 95; i++) put('0,'.repeat(MIB / 2));
    }),
  ),
  bad(
    '100,001 tensors',
    'ST_LIMIT',
    pieces(20_000_000, put => {
      put('{');
      for (let i = 0; i < 101; i++) {
        put(
          Array.from(
            { length: 1000 },
            (_, k) => `"t${i * 1000 + k}":{"dtype":"F32","shape":[0,1],"data_offsets":[0,0]},`,
          ).join(''),
        );
      }
    }),
  ),
  bad(
    '90,000 tensors and a fault in the last',
    'ST_JSON',
    pieces(20_000_000, put => {
      put('{');
      for (let i = 0; i < 90; i++) {
        put(
          Array.from(
            { length: 1000 },
            (_, k) => `"model.layers.${i * 1000 + k}.weight":{"dtype":"F32","shape":[0,1],"data_offsets":[0,0]},`,
          ).join(''),
        );
      }
    }),
  ),
  bad(
    'names of 60 MB together',
    'ST_LIMIT',
    pieces(60_000_000, put => {
      put('{');
      for (let i = 0; i < 60_000; i++)
        put(`"${'n'.repeat(900)}${i}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},`);
    }),
  ),
];
