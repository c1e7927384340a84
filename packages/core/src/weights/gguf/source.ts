import type { Checkpoint, ModelSource } from '../types.ts';
import { configOf } from './architectures.ts';
import { GgufCheckpoint } from './checkpoint.ts';
import { readGgufHeader } from './header.ts';
import { GgufMetadata } from './metadata.ts';
import { ropeScaling } from './rope-scaling.ts';
import { tokenizerOf } from './tokenizer.ts';

/**
 * A GGUF file as a model folder: config.json, tokenizer.json and tokenizer_config.json are made of its metadata, the checkpoint of its
 * tensors. Other files of the folder are not shown. Closing it closes `source`.
 * @throws ModelFormatError with a code GG_*.
 */
export async function openGguf(source: ModelSource, file: string): Promise<ModelSource> {
  const size = await source.size(file);
  const header = await readGgufHeader(source, file, size ?? 0);
  const metadata = new GgufMetadata(header);
  const checkpoint = new GgufCheckpoint(source, header, metadata);
  const vocabSize = checkpoint.tensors.get('model.embed_tokens.weight')?.shape[0] ?? 0;
  const config = configOf(header, metadata, vocabSize);
  const scaling = await ropeScaling(source, header, metadata);
  const made: Record<string, object> = { 'config.json': { ...config, rope_scaling: scaling } };
  const tokenizer = tokenizerOf(metadata);
  if (tokenizer !== null) {
    made['tokenizer.json'] = tokenizer.tokenizer;
    made['tokenizer_config.json'] = tokenizer.config;
  }
  return new GgufSource(source, file, made, checkpoint);
}

class GgufSource implements ModelSource {
  readonly location: string;
  readonly #source: ModelSource;
  readonly #file: string;
  readonly #made = new Map<string, Uint8Array>();
  readonly #checkpoint: Checkpoint;

  constructor(source: ModelSource, file: string, made: Readonly<Record<string, object>>, checkpoint: Checkpoint) {
    this.location = `${source.location}/${file}`;
    this.#source = source;
    this.#file = file;
    this.#checkpoint = checkpoint;
    const encoder = new TextEncoder();
    for (const [name, content] of Object.entries(made)) this.#made.set(name, encoder.encode(JSON.stringify(content)));
  }

  async list(): Promise<string[]> {
    return [...this.#made.keys(), this.#file];
  }

  async size(file: string): Promise<number | null> {
    return this.#made.get(file)?.length ?? (file === this.#file ? this.#source.size(file) : null);
  }

  async read(file: string, start: number, end: number, into?: Uint8Array): Promise<Uint8Array> {
    return this.#made.get(file)?.slice(start, end) ?? this.#source.read(file, start, end, into);
  }

  checkpoint(): Checkpoint {
    return this.#checkpoint;
  }

  close(): Promise<void> {
    return this.#source.close();
  }
}
