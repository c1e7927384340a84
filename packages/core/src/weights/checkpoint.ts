import { ModelFormatError } from '../errors.ts';
import { AheadReader } from './ahead-reader.ts';
import { quote } from './json-scan.ts';
import { readPytorchBin } from './pytorch-bin.ts';
import { readSafetensors } from './safetensors.ts';
import { joinShards, readShardIndex, type ShardIndex } from './shard-index.ts';
import type { Checkpoint, CheckpointTensor, ModelSource } from './types.ts';

const HEADERS_AT_ONCE = 4;

type FileReader = (source: ModelSource, file: string, fileSize: number) => Promise<CheckpointTensor[]>;

/** Formats of checkpoints by their names in vLLM's load_format. */
export type CheckpointFormat = 'safetensors' | 'pt';

/** In order of preference. */
const formats: readonly { name: CheckpointFormat; index: string; single: string; read: FileReader }[] = [
  {
    name: 'safetensors',
    index: 'model.safetensors.index.json',
    single: 'model.safetensors',
    read: readSafetensors,
  },
  { name: 'pt', index: 'pytorch_model.bin.index.json', single: 'pytorch_model.bin', read: readPytorchBin },
];

/** Other formats, by the ends of their file names. */
const otherFormats: readonly (readonly [ends: string, name: string])[] = [
  ['.gguf', 'GGUF'],
  ['.ggml', 'GGML'],
  ['.h5', 'TensorFlow HDF5'],
  ['.keras', 'Keras'],
  ['.msgpack', 'Flax msgpack'],
  ['.onnx', 'ONNX'],
  ['.npz', 'NumPy'],
  ['.npy', 'NumPy'],
  ['.ckpt', 'a training checkpoint'],
  ['.pth', 'a PyTorch file of unknown layout'],
  ['.pt', 'a PyTorch file of unknown layout'],
  ['.tflite', 'TensorFlow Lite'],
  ['.tar', 'a tar archive'],
  ['.zip', 'a zip archive'],
];

/**
 * Finds the weights of a model folder and reads where each tensor lies; no weight is read yet. The first of these that exists is
 * taken: model.safetensors.index.json, model.safetensors, pytorch_model.bin.index.json, pytorch_model.bin. So where both a sharded
 * and a single checkpoint are present, the index wins, and safetensors wins over pytorch_model.bin. With `only`, files of the other
 * format are as good as absent.
 * @throws ModelFormatError with a code ST_*, IX_* or PK_*; UNSUPPORTED_FORMAT or NO_WEIGHTS when there is nothing to read.
 */
export async function openCheckpoint(source: ModelSource, only?: CheckpointFormat): Promise<Checkpoint> {
  const own = only === undefined ? source.checkpoint?.() : undefined;
  if (own !== undefined) return own;
  for (const format of formats) {
    if (format.name !== (only ?? format.name)) continue;
    const indexSize = await source.size(format.index);
    if (indexSize !== null) return openSharded(source, format.index, indexSize, format.read);
    const size = await source.size(format.single);
    if (size !== null) return openSingle(source, format.single, size, format.read);
  }
  throw await nothingToRead(source, only);
}

/**
 * One safetensors file by its name, such as that of an adapter.
 * @throws ModelFormatError with a code ST_*; NO_WEIGHTS when there is no such file.
 */
export async function openSafetensors(source: ModelSource, file: string): Promise<Checkpoint> {
  const size = await source.size(file);
  if (size !== null) return openSingle(source, file, size, readSafetensors);
  throw new ModelFormatError('NO_WEIGHTS', 'the file is missing', {
    file,
    expected: 'a safetensors file',
    advice: 'Save the weights as safetensors: other formats are not read here.',
  });
}

async function openSingle(source: ModelSource, file: string, size: number, read: FileReader): Promise<Checkpoint> {
  const tensors = await read(source, file, size);
  return new FileCheckpoint(source, new Map(tensors.map(tensor => [tensor.name, tensor])), []);
}

async function openSharded(source: ModelSource, file: string, size: number, read: FileReader): Promise<Checkpoint> {
  const index = await readShardIndex(source, file, size);
  const shards: CheckpointTensor[][] = [];
  for (let i = 0; i < index.shards.length; i += HEADERS_AT_ONCE) {
    const some = index.shards.slice(i, i + HEADERS_AT_ONCE);
    shards.push(...(await Promise.all(some.map(shard => readShard(source, shard, file, index, read)))));
  }
  const { tensors, notices } = joinShards(index, shards, file);
  return new FileCheckpoint(source, tensors, notices);
}

async function readShard(
  source: ModelSource,
  shard: string,
  indexFile: string,
  index: ShardIndex,
  read: FileReader,
): Promise<CheckpointTensor[]> {
  const size = await source.size(shard);
  if (size !== null) return read(source, shard, size);
  throw new ModelFormatError('IX_SHARD', 'a file of the checkpoint is missing', {
    file: indexFile,
    found: `no ${shard}`,
    expected: `${index.shards.length} files`,
    advice: 'Download the rest of the folder.',
  });
}

async function nothingToRead(source: ModelSource, only?: CheckpointFormat): Promise<ModelFormatError> {
  const files = (await source.list()).sort();
  const wanted = formats.filter(({ name }) => name === (only ?? name)).map(({ single }) => single);
  const expected = `${wanted.join(' or ')}, or the index of a sharded one`;
  for (const [ends, name] of otherFormats) {
    const file = files.find(candidate => candidate.toLowerCase().endsWith(ends));
    if (file === undefined) continue;
    return new ModelFormatError('UNSUPPORTED_FORMAT', 'this format is not supported', {
      file: quote(file),
      found: name,
      expected,
      advice: name === 'GGUF' ? 'Name the file itself as the model.' : 'Convert the model to safetensors.',
    });
  }
  const shown = files.slice(0, 8).map(quote).join(', ');
  return new ModelFormatError('NO_WEIGHTS', 'the folder holds no weights', {
    file: source.location,
    found:
      files.length === 0 ? 'an empty folder' : `${shown}${files.length > 8 ? ` and ${files.length - 8} more` : ''}`,
    expected,
    advice: 'Check the path, or download the weights.',
  });
}

class FileCheckpoint implements Checkpoint {
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  readonly notices: readonly string[];
  readonly descriptor?: NonNullable<Checkpoint['descriptor']>;
  readonly #reader: AheadReader;

  constructor(source: ModelSource, tensors: ReadonlyMap<string, CheckpointTensor>, notices: readonly string[]) {
    this.#reader = new AheadReader(source);
    this.tensors = tensors;
    this.notices = notices;
    if (source.descriptor !== undefined) this.descriptor = ({ file }, bytes) => source.descriptor!(file, bytes);
  }

  stream({ file, start, end }: CheckpointTensor): AsyncIterable<Uint8Array> {
    return this.#reader.chunks(file, start, end);
  }
}
