/** Folder of all models in the origin's private file system; each has a folder of its own in it. */
export const MODELS = 'models';
/** In the folder of a model: where it came from. */
export const ADDRESS_FILE = 'address.json';

/** A model in the browser's storage, whole or in part. */
export interface StoredModel {
  readonly address: string;
  /** Of its folder. */
  readonly name: string;
  readonly bytes: number;
}

export async function storedModels(): Promise<StoredModel[]> {
  const found: StoredModel[] = [];
  for await (const [name, folder] of (await modelsFolder()).entries()) {
    if (folder.kind === 'directory') found.push(await describe(name, folder as FileSystemDirectoryHandle));
  }
  return found.sort((a, b) => a.address.localeCompare(b.address));
}

/** Rejects with an Error that says what to do when its files are open: the model that runs cannot be removed. */
export async function removeModel({ name, address }: StoredModel): Promise<void> {
  try {
    await (await modelsFolder()).removeEntry(name, { recursive: true });
  } catch (cause) {
    if (!(cause instanceof DOMException) || cause.name !== 'NoModificationAllowedError') throw cause;
    throw new Error(`${address} is in use. Load another model first.`, { cause });
  }
}

async function modelsFolder(): Promise<FileSystemDirectoryHandle> {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(MODELS, { create: true });
}

async function describe(name: string, folder: FileSystemDirectoryHandle): Promise<StoredModel> {
  let [bytes, address] = [0, 'unknown'];
  for await (const [file, handle] of folder.entries()) {
    if (handle.kind !== 'file') continue;
    const content = await (handle as FileSystemFileHandle).getFile();
    bytes += content.size;
    if (file === ADDRESS_FILE) address = await addressIn(content);
  }
  return { address, name, bytes };
}

async function addressIn(content: File): Promise<string> {
  try {
    return String((JSON.parse(await content.text()) as { address?: unknown }).address ?? 'unknown');
  } catch {
    return 'unknown';
  }
}
