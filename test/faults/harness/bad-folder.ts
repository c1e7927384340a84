import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** Text, bytes, a JSON value, null (the file is absent), or a function that writes the file. */
export type Content = string | Uint8Array | object | null | ((path: string) => void);

/** A model folder that is wrong in one way. */
export interface BadFolder {
  /** Unique, and telling: `safetensors: overlapping tensors`. */
  name: string;
  /** The code of the error that it must give. */
  code: string;
  /** The class of the error. Default ModelFormatError. */
  error?: string;
  /** A bundled model, whose files are those of the folder where `files` does not say otherwise. Default tiny-llama. */
  base?: 'tiny-llama' | 'tiny-opt';
  files?: Readonly<Record<string, Content>>;
  /** Makes links and the like. `outside` is a folder that must not be read. */
  arrange?: (folder: string, outside: string) => void;
  /** What the message must say. */
  message?: RegExp;
}

/** Makes the folder at `folder`; unchanged files are hard links to those of the bundled model. */
export function makeFolder(bad: BadFolder, folder: string, outside: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const base = resolve('models', bad.base ?? 'tiny-llama');
  const files = bad.files ?? {};
  for (const name of readdirSync(base)) {
    if (name !== 'golden.json' && !Object.hasOwn(files, name)) share(join(base, name), join(folder, name));
  }
  for (const [name, content] of Object.entries(files)) write(join(folder, name), content);
  bad.arrange?.(folder, outside);
}

function share(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    // The temporary folder may lie on another file system.
    writeFileSync(to, readFileSync(from));
  }
}

function write(path: string, content: Content): void {
  if (content === null) return;
  if (typeof content === 'function') content(path);
  else if (typeof content === 'string' || content instanceof Uint8Array) writeFileSync(path, content);
  else writeFileSync(path, JSON.stringify(content));
}

/** A JSON file of a bundled model with some members replaced; undefined removes one. */
export function changed(model: 'tiny-llama' | 'tiny-opt', file: string, members: object): object {
  return { ...JSON.parse(readFileSync(resolve('models', model, file), 'utf8')), ...members };
}
