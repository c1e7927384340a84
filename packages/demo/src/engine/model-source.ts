import { MemorySource, ModelFormatError, type ModelSource } from '@quire/core';
import type { BundledModel, ModelChoice, OnProgress } from './messages.ts';
import type { CheckModel } from './url-source.ts';

/** Files of the bundled models, which lie beside the page. */
const bundledFiles: Readonly<Record<BundledModel, readonly string[]>> = {
  'tiny-llama': ['tokenizer.json', 'tokenizer_config.json', 'model.safetensors'],
  'tiny-opt': ['vocab.json', 'merges.txt', 'special_tokens_map.json', 'tokenizer_config.json', 'pytorch_model.bin'],
};

/** `check` may refuse a model of which the weights would have to be fetched. Throws ModelFormatError when files are missing or cannot be read. */
export async function openSource(model: ModelChoice, progress: OnProgress, check: CheckModel): Promise<ModelSource> {
  if (model.kind === 'files') return new FilesSource(model.name, model.files);
  if (model.kind === 'url') return (await import('./url-source.ts')).openUrl(model.url, progress, check);
  const files = new Map<string, Uint8Array>();
  for (const file of ['config.json', 'generation_config.json', ...bundledFiles[model.name]]) {
    files.set(file, await fetchFile(`${model.name}/${file}`, progress));
  }
  return new MemorySource(files, model.name);
}

async function fetchFile(path: string, progress: OnProgress): Promise<Uint8Array> {
  // The worker lies in a folder of its own; the page tells where it is.
  const response = await fetch(new URL(path, pageUrl()));
  if (!response.ok || response.body === null) {
    throw new ModelFormatError('IO_ERROR', `the server answered ${response.status}`, { file: path });
  }
  const total = Number(response.headers.get('content-length')) || null;
  const parts: Uint8Array[] = [];
  let loaded = 0;
  for await (const part of response.body) {
    parts.push(part);
    loaded += part.length;
    progress(path, loaded, total);
  }
  const bytes = new Uint8Array(loaded);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The page's address was given to the worker as its name. */
function pageUrl(): string {
  return self.name || self.location.href;
}

/** A folder that the visitor picked. Files are read piece by piece, never whole. */
class FilesSource implements ModelSource {
  readonly location: string;
  readonly #files: ReadonlyMap<string, File>;

  constructor(name: string, files: readonly File[]) {
    this.location = name;
    this.#files = new Map(files.map(file => [file.name, file]));
  }

  async list(): Promise<string[]> {
    return [...this.#files.keys()];
  }

  async size(file: string): Promise<number | null> {
    return this.#files.get(file)?.size ?? null;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array> {
    const part = this.#files.get(file)?.slice(start, end);
    const bytes = new Uint8Array(part === undefined ? new ArrayBuffer(0) : await part.arrayBuffer());
    if (bytes.length === end - start) return bytes;
    throw new ModelFormatError('IO_ERROR', `has no bytes ${start} to ${end}`, { file });
  }

  async close(): Promise<void> {}
}
