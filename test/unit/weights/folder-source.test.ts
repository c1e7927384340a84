import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint } from '@quire/core/weights';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFolderSource } from '../../../packages/server/src/node/folder-source.ts';
import { concat, entry, safetensors, u64 } from '../../faults/writers/safetensors.ts';

let root: string;
let folder: string;
beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'quire-folder-')));
  folder = join(root, 'model');
  mkdirSync(folder);
  writeFileSync(join(folder, 'a.txt'), 'abcdefghij');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

async function codeOf(file: string, from = folder): Promise<string> {
  const source = await openFolderSource(from);
  const sizeVerdict = await source.size(file).then(
    size => `size ${size}`,
    error => error.code,
  );
  const readVerdict = await source.read(file, 0, 1).then(
    () => 'read',
    error => error.code,
  );
  await source.close();
  return `${sizeVerdict}, ${readVerdict}`;
}

describe('openFolderSource', () => {
  it('lists, sizes and reads ranges, into given memory where there is some', async () => {
    const source = await openFolderSource(folder);
    expect(await source.list()).toEqual(['a.txt']);
    expect(await source.size('a.txt')).toBe(10);
    expect(await source.size('b.txt')).toBeNull();
    expect(Buffer.from(await source.read('a.txt', 2, 5)).toString()).toBe('cde');
    const into = new Uint8Array(8);
    const got = await source.read('a.txt', 7, 10, into);
    expect(Buffer.from(got).toString()).toBe('hij');
    expect(got.buffer).toBe(into.buffer);
    const many = await Promise.all(Array.from({ length: 100 }, (_, i) => source.read('a.txt', i % 10, (i % 10) + 1)));
    expect(many.map(bytes => String.fromCharCode(bytes[0]!)).join('')).toBe('abcdefghij'.repeat(10));
    await source.close();
  });

  it('takes a folder through a link, and refuses what is no folder', async () => {
    symlinkSync(folder, join(root, 'link'));
    expect(await codeOf('a.txt', join(root, 'link'))).toBe('size 10, read');
    for (const path of [join(root, 'none'), join(folder, 'a.txt')]) {
      await expect(openFolderSource(path)).rejects.toMatchObject({ code: 'FS_FOLDER' });
    }
  });

  it('follows links within the folder and refuses links out of it', async () => {
    mkdirSync(join(root, 'model_evil'));
    writeFileSync(join(root, 'model_evil', 'a.txt'), 'secret');
    symlinkSync('a.txt', join(folder, 'inside'));
    symlinkSync(join(folder, 'a.txt'), join(folder, 'absolute'));
    symlinkSync('../model_evil/a.txt', join(folder, 'twin'));
    symlinkSync('/dev/zero', join(folder, 'device'));
    symlinkSync('loop', join(folder, 'loop'));
    symlinkSync('nowhere', join(folder, 'dangling'));
    expect(await codeOf('inside')).toBe('size 10, read');
    expect(await codeOf('absolute')).toBe('size 10, read');
    expect(await codeOf('twin')).toBe('FS_LINK, FS_LINK');
    expect(await codeOf('device')).toBe('FS_LINK, FS_LINK');
    expect(await codeOf('loop')).toBe('FS_LINK, FS_LINK');
    expect(await codeOf('dangling')).toBe('IO_ERROR, IO_ERROR');
  });

  it('follows the links of a Hugging Face cache to the blobs of the same model alone', async () => {
    for (const model of ['models--org--a', 'models--org--b']) {
      mkdirSync(join(root, 'hub', model, 'snapshots', 'abc'), { recursive: true });
      mkdirSync(join(root, 'hub', model, 'blobs'));
      writeFileSync(join(root, 'hub', model, 'blobs', 'feed'), model);
    }
    const snapshot = join(root, 'hub', 'models--org--a', 'snapshots', 'abc');
    symlinkSync('../../blobs/feed', join(snapshot, 'own'));
    symlinkSync('../../../models--org--b/blobs/feed', join(snapshot, 'other'));
    symlinkSync('../../../../model/a.txt', join(snapshot, 'far'));
    writeFileSync(join(root, 'hub', 'models--org--a', 'refs'), 'x');
    symlinkSync('../../refs', join(snapshot, 'refs'));
    expect(await codeOf('own', snapshot)).toBe('size 14, read');
    for (const file of ['other', 'far', 'refs']) expect(await codeOf(file, snapshot)).toBe('FS_LINK, FS_LINK');
  });

  it('opens regular files only, and never waits for a FIFO', async () => {
    mkdirSync(join(folder, 'sub'));
    execFileSync('mkfifo', [join(folder, 'fifo')]);
    expect(await codeOf('sub')).toBe('FS_NOT_REGULAR, FS_NOT_REGULAR');
    expect(await codeOf('fifo')).toBe('FS_NOT_REGULAR, FS_NOT_REGULAR');
  });

  it.each([
    '',
    '.',
    '..',
    '../a.txt',
    'sub/a.txt',
    '/etc/passwd',
    'C:\\x',
    '\\\\host\\x',
    'x\0y',
    'file:x',
    `${'n'.repeat(256)}`,
  ])('refuses the name %j', async name => {
    expect(await codeOf(name)).toBe('FS_NAME, FS_NAME');
  });

  it('says so when a file became shorter while it was open', async () => {
    const source = await openFolderSource(folder);
    await source.read('a.txt', 0, 10);
    truncateSync(join(folder, 'a.txt'), 4);
    await expect(source.read('a.txt', 2, 10)).rejects.toMatchObject({
      code: 'IO_ERROR',
      details: { file: 'a.txt', offset: 2 },
    });
    await expect(source.read('a.txt', 6, 10)).rejects.toMatchObject({ code: 'IO_ERROR' });
    await source.close();
  });

  it('goes on reading the file that it opened when another takes its name', async () => {
    const source = await openFolderSource(folder);
    await source.read('a.txt', 0, 1);
    writeFileSync(join(folder, 'new'), '0123456789');
    renameSync(join(folder, 'new'), join(folder, 'a.txt'));
    expect(Buffer.from(await source.read('a.txt', 0, 3)).toString()).toBe('abc');
    await source.close();
  });

  it('streams all tensors through one buffer', async () => {
    const [first, second] = [Buffer.alloc(9 << 20, 1), Buffer.alloc(5 << 20, 2)];
    first.writeUInt32LE(7, (4 << 20) - 2);
    const end = first.length + second.length;
    const header = { a: entry([9 << 20], [0, first.length], 'U8'), b: entry([5 << 20], [first.length, end], 'U8') };
    writeFileSync(join(folder, 'model.safetensors'), safetensors(header, concat(first, second)));
    const source = await openFolderSource(folder);
    const checkpoint = await openCheckpoint(source);
    const buffers = new Set<ArrayBufferLike>();
    for (const [name, bytes] of [
      ['a', first],
      ['b', second],
      ['a', first],
    ] as const) {
      let at = 0;
      for await (const chunk of checkpoint.stream(checkpoint.tensors.get(name)!)) {
        expect(bytes.subarray(at, at + chunk.length).equals(chunk), `${name} ${at}`).toBe(true);
        at += chunk.length;
        buffers.add(chunk.buffer);
        // Who leaves early leaves no read behind that another stream would meet in the buffer.
        if (name === 'b') break;
      }
    }
    expect(buffers.size).toBe(1);
    await source.close();
  });

  it('reads beyond 4 GiB, and holds little of a file of 6 GiB in memory', async () => {
    const size = 6 * 2 ** 30;
    const header = Buffer.from(
      JSON.stringify({ big: entry([size], [0, size], 'U8'), last: entry([4], [size, size + 4], 'U8') }),
    );
    const fd = openSync(join(folder, 'model.safetensors'), 'w');
    writeSync(fd, concat(u64(header.length), header));
    ftruncateSync(fd, 8 + header.length + size);
    writeSync(fd, Buffer.from('tail'), 0, 4, 8 + header.length + size);
    closeSync(fd);
    const source = await openFolderSource(folder);
    const before = process.memoryUsage().rss;
    const checkpoint = await openCheckpoint(source);
    const chunks: Uint8Array[] = [];
    for await (const chunk of checkpoint.stream(checkpoint.tensors.get('last')!)) chunks.push(chunk.slice());
    expect(Buffer.concat(chunks).toString()).toBe('tail');
    let first = 0;
    for await (const chunk of checkpoint.stream(checkpoint.tensors.get('big')!)) {
      first += chunk.length;
      if (first >= 256 * 2 ** 20) break;
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 2 ** 20);
    await source.close();
  });
});
