import { type ModelFormatDetails, ModelFormatError } from '../errors.ts';
import { quote } from './json-scan.ts';
import { MAX_FILE_TENSORS, MAX_NAME_BYTES, MAX_RANK, NameBudget } from './limits.ts';
import { describeMagic } from './magic.ts';
import { readPickle } from './pickle.ts';
import { PickleDict, type PickleStorage, PickleTensor, showValue } from './pickle-values.ts';
import { type CheckpointTensor, checkpointDTypeBytes, type ModelSource } from './types.ts';
import { locateEntry, readZipDirectory, type ZipDirectory, type ZipEntry } from './zip.ts';

const MAX_PICKLE_BYTES = 16 * 1024 * 1024;
const LOCATE_AT_ONCE = 16;
const convert = 'Load it in PyTorch and save its state_dict as safetensors.';

/**
 * Reads where the tensors of a torch.save archive lie (pytorch_model.bin: a zip file with stored entries, PyTorch 1.6 or later).
 * Tensors may share a storage, be views into one, or be the same tensor twice (tied weights). Tensors whose elements do not lie
 * one after another in row-major order are refused.
 * @throws ModelFormatError with a code PK_*.
 */
export async function readPytorchBin(source: ModelSource, file: string, fileSize: number): Promise<CheckpointTensor[]> {
  await checkMagic(source, file, fileSize);
  const directory = await readZipDirectory(source, file, fileSize);
  const root = findRoot(directory);
  await checkByteOrder(source, directory, root);
  const state = readPickle(await readEntry(source, directory, `${root}data.pkl`, MAX_PICKLE_BYTES), file);
  const tensors = listTensors(state, file);
  const storages = await locateStorages(source, directory, root, tensors);
  return [...tensors].map(([name, tensor]) => place(name, tensor, storages.get(tensor.storage.key)!, file));
}

async function checkMagic(source: ModelSource, file: string, fileSize: number): Promise<void> {
  const head = await source.read(file, 0, Math.min(fileSize, 300));
  const magic = describeMagic(head);
  if (magic?.startsWith('a zip archive')) return;
  if (magic?.startsWith('PyTorch') || magic === 'a pickle' || magic === 'a tar archive') {
    throw new ModelFormatError('PK_LEGACY', 'this is a format of PyTorch before 1.6, which is not read', {
      file,
      found: magic,
      expected: 'a zip archive',
      advice: convert,
    });
  }
  throw new ModelFormatError('PK_MAGIC', 'this is not a file of torch.save', {
    file,
    found: magic ?? (fileSize === 0 ? 'an empty file' : 'unknown bytes'),
    expected: 'a zip archive',
    advice: 'Download the file again, or give it the name that fits its format.',
  });
}

/** The archive has one folder; its name does not matter. */
function findRoot(directory: ZipDirectory): string {
  const found = [...directory.entries.keys()].filter(name => /^[^/]+\/data\.pkl$/.test(name));
  if (found.length === 1) return found[0]!.slice(0, -'data.pkl'.length);
  throw bad(
    directory.file,
    'PK_ENTRY',
    found.length === 0 ? 'the archive holds no data.pkl' : 'the archive holds several data.pkl',
    {
      expected: 'one entry NAME/data.pkl, as torch.save writes it',
    },
  );
}

async function checkByteOrder(source: ModelSource, directory: ZipDirectory, root: string): Promise<void> {
  if (!directory.entries.has(`${root}byteorder`)) return;
  const order = new TextDecoder().decode(await readEntry(source, directory, `${root}byteorder`, 16));
  if (order.trim() === 'little') return;
  throw bad(directory.file, 'PK_BYTEORDER', 'the checkpoint was saved on a machine with another byte order', {
    found: quote(order),
    expected: 'little',
    advice: convert,
  });
}

async function readEntry(
  source: ModelSource,
  directory: ZipDirectory,
  name: string,
  maxBytes: number,
): Promise<Uint8Array> {
  const entry = directory.entries.get(name)!;
  if (entry.size > maxBytes)
    throw bad(directory.file, 'PK_LIMIT', `the entry ${quote(name)} is too large`, {
      found: `${entry.size} bytes`,
      expected: `at most ${maxBytes}`,
    });
  const { start, end } = await locateEntry(source, directory.file, entry);
  return source.read(directory.file, start, end);
}

function listTensors(state: unknown, file: string): Map<string, PickleTensor> {
  if (!(state instanceof PickleDict))
    throw bad(file, 'PK_STRUCTURE', 'the file does not hold a state dictionary', {
      expected: 'a dictionary of tensors',
      advice: convert,
    });
  const budget = new NameBudget(file, 'PK_LIMIT', MAX_FILE_TENSORS);
  const tensors = new Map<string, PickleTensor>();
  for (const [name, value] of state.items) {
    budget.add(name);
    if (name.length > MAX_NAME_BYTES)
      throw bad(file, 'PK_LIMIT', 'the name of a tensor is too long', {
        found: `${name.length} characters`,
        expected: `at most ${MAX_NAME_BYTES}`,
      });
    if (!(value instanceof PickleTensor)) {
      throw bad(file, 'PK_STRUCTURE', 'an entry of the state dictionary is no tensor', {
        tensor: quote(name),
        found: showValue(value),
        expected: 'a tensor',
        advice: convert,
      });
    }
    tensors.set(name, value);
  }
  return tensors;
}

/** Finds the bytes of every storage that is in use. Tensors that share a storage must agree on its size. */
async function locateStorages(
  source: ModelSource,
  directory: ZipDirectory,
  root: string,
  tensors: ReadonlyMap<string, PickleTensor>,
): Promise<Map<string, { start: number; end: number }>> {
  const wanted = new Map<string, ZipEntry>();
  for (const [name, { storage }] of tensors) wanted.set(storage.key, storageEntry(directory, root, name, storage));
  const places = new Map<string, { start: number; end: number }>();
  const queue = [...wanted];
  for (let i = 0; i < queue.length; i += LOCATE_AT_ONCE) {
    const some = queue.slice(i, i + LOCATE_AT_ONCE);
    const found = await Promise.all(some.map(([, entry]) => locateEntry(source, directory.file, entry)));
    some.forEach(([key], k) => {
      places.set(key, found[k]!);
    });
  }
  return places;
}

function storageEntry(directory: ZipDirectory, root: string, tensor: string, storage: PickleStorage): ZipEntry {
  const name = `${root}data/${storage.key}`;
  const entry = directory.entries.get(name);
  const bytes = storage.length * checkpointDTypeBytes[storage.dtype];
  if (entry?.size === bytes) return entry;
  throw bad(
    directory.file,
    'PK_ENTRY',
    `the entry ${quote(name)} ${entry === undefined ? 'is missing' : 'has another size than its storage'}`,
    {
      tensor: quote(tensor),
      found: entry === undefined ? 'nothing' : `${entry.size} bytes`,
      expected: `${bytes} bytes`,
      advice: 'Download the file again.',
    },
  );
}

function place(
  name: string,
  tensor: PickleTensor,
  storage: { start: number; end: number },
  file: string,
): CheckpointTensor {
  const { dtype } = tensor.storage;
  const { shape, strides } = tensor;
  if (shape.length > MAX_RANK)
    throw bad(file, 'PK_TENSOR', 'the tensor has too many dimensions', {
      tensor: quote(name),
      found: `${shape.length}`,
      expected: `at most ${MAX_RANK}`,
    });
  let elements = 1;
  let contiguous = true;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== elements) contiguous = false;
    elements *= shape[i]!;
  }
  if (!Number.isSafeInteger(elements) || tensor.offset + elements > tensor.storage.length) {
    throw bad(file, 'PK_TENSOR', 'the tensor leaves its storage', {
      tensor: quote(name),
      found: `${elements} elements from element ${tensor.offset}`,
      expected: `an end within ${tensor.storage.length} elements`,
    });
  }
  if (!contiguous && elements > 0) {
    throw bad(file, 'PK_STRIDE', 'the elements of the tensor do not lie one after another', {
      tensor: quote(name),
      found: `strides [${strides}] for shape [${shape}]`,
      expected: 'row-major order',
      advice: 'Load the checkpoint in PyTorch, call contiguous() on its tensors, and save it again.',
    });
  }
  const start = storage.start + tensor.offset * checkpointDTypeBytes[dtype];
  return { name, dtype, shape, file, start, end: start + elements * checkpointDTypeBytes[dtype] };
}

function bad(file: string, code: string, summary: string, details: Omit<ModelFormatDetails, 'file'>): ModelFormatError {
  return new ModelFormatError(code, summary, { file, ...details });
}
