import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BadFolder } from '../harness/bad-folder.ts';

const other = (name: string, message: RegExp): BadFolder => ({
  name: `files: weights in ${name} alone`,
  code: 'UNSUPPORTED_FORMAT',
  files: { 'model.safetensors': null, [name]: 'bytes' },
  message,
});

function replaced(name: string, code: string, file: string, put: (path: string, outside: string) => void): BadFolder {
  return {
    name: `files: ${name}`,
    code,
    files: { [file]: null },
    arrange: (folder, outside) => put(join(folder, file), outside),
  };
}

/** Puts something else in the place of the folder. */
function instead(put: (path: string) => void): (folder: string) => void {
  return folder => {
    rmSync(folder, { recursive: true });
    put(folder);
  };
}

export const fileCases: BadFolder[] = [
  other('model.gguf', /GGUF/),
  other('tf_model.h5', /HDF5/),
  other('flax_model.msgpack', /msgpack/),
  other('model.onnx', /ONNX/),
  other('weights.npz', /NumPy/),
  other('last.ckpt', /training checkpoint/),
  other('model.pt', /PyTorch/),
  other('consolidated.00.pth', /PyTorch/),
  other('MODEL.GGUF', /GGUF/),
  { name: 'files: no weights', code: 'NO_WEIGHTS', files: { 'model.safetensors': null }, message: /config\.json/ },
  {
    name: 'files: weights of another name',
    code: 'NO_WEIGHTS',
    files: { 'model.safetensors': null, 'model.fp16.safetensors': 'bytes' },
    message: /model\.fp16\.safetensors/,
  },
  {
    name: 'files: an empty folder',
    code: 'CF_MISSING',
    arrange: instead(folder => mkdirSync(folder)),
  },
  { name: 'files: no folder', code: 'FS_FOLDER', arrange: folder => rmSync(folder, { recursive: true }) },
  {
    name: 'files: a file for a folder',
    code: 'FS_FOLDER',
    arrange: instead(folder => writeFileSync(folder, 'x')),
  },
  {
    name: 'files: a loop of links for a folder',
    code: 'FS_FOLDER',
    arrange: instead(folder => symlinkSync(folder, folder)),
  },
  {
    name: 'files: a FIFO for a folder',
    code: 'FS_FOLDER',
    arrange: instead(folder => execFileSync('mkfifo', [folder])),
  },
  replaced('config.json a link out', 'FS_LINK', 'config.json', (path, outside) =>
    symlinkSync(join(outside, 'config.json'), path),
  ),
  replaced('config.json a directory', 'FS_NOT_REGULAR', 'config.json', path => mkdirSync(path)),
  replaced('config.json a FIFO', 'FS_NOT_REGULAR', 'config.json', path => execFileSync('mkfifo', [path])),
  replaced('generation_config.json a link to /dev/zero', 'FS_LINK', 'generation_config.json', path =>
    symlinkSync('/dev/zero', path),
  ),
  replaced('model.safetensors a link out', 'FS_LINK', 'model.safetensors', (path, outside) =>
    symlinkSync(join(outside, 'model.safetensors'), path),
  ),
  replaced('model.safetensors a directory', 'FS_NOT_REGULAR', 'model.safetensors', path => mkdirSync(path)),
  replaced('model.safetensors a FIFO', 'FS_NOT_REGULAR', 'model.safetensors', path => execFileSync('mkfifo', [path])),
  replaced('tokenizer.json a link out', 'FS_LINK', 'tokenizer.json', (path, outside) =>
    symlinkSync(join(outside, 'tokenizer.json'), path),
  ),
  replaced('tokenizer.json a FIFO', 'FS_NOT_REGULAR', 'tokenizer.json', path => execFileSync('mkfifo', [path])),
  replaced('tokenizer_config.json a directory', 'FS_NOT_REGULAR', 'tokenizer_config.json', path => mkdirSync(path)),
  replaced('an index that is a link to nothing', 'IO_ERROR', 'model.safetensors.index.json', path =>
    symlinkSync('gone', path),
  ),
  {
    name: 'files: a cache snapshot whose link leads to another model',
    code: 'FS_LINK',
    arrange: folder => {
      // The folder becomes a link to a snapshot, as the cache lays it out.
      rmSync(`${folder}-cache`, { recursive: true, force: true });
      const model = `${folder}-cache/models--org--name`;
      mkdirSync(join(model, 'snapshots'), { recursive: true });
      mkdirSync(`${folder}-cache/models--org--other/blobs`, { recursive: true });
      const snapshot = join(model, 'snapshots', 'main');
      renameSync(folder, snapshot);
      symlinkSync(snapshot, folder);
      renameSync(join(snapshot, 'config.json'), `${folder}-cache/models--org--other/blobs/feed`);
      symlinkSync('../../../models--org--other/blobs/feed', join(snapshot, 'config.json'));
    },
  },
];

/** Only where file permissions mean something to the present user. */
export const permissionCases: BadFolder[] =
  process.getuid?.() === 0
    ? []
    : [
        {
          name: 'files: weights that may not be read',
          code: 'IO_ERROR',
          files: { 'model.safetensors': 'x' },
          arrange: folder => chmodSync(join(folder, 'model.safetensors'), 0),
        },
      ];
