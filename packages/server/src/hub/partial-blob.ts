import type { Hash } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { blobHash } from './digest.ts';
import type { HubFile } from './hub-client.ts';

const READ_BYTES = 2 ** 20;

/** `blobs/DIGEST.incomplete`: what has come of a file so far, hashed as it comes. What an earlier process left is taken up. */
export class PartialBlob {
  readonly #path: string;
  readonly #file: HubFile;
  readonly #handle: FileHandle;
  #hash: Hash;
  #bytes = 0;

  private constructor(path: string, file: HubFile, handle: FileHandle) {
    this.#path = path;
    this.#file = file;
    this.#handle = handle;
    this.#hash = blobHash(file.digest, file.bytes);
  }

  /** `path`: of the whole blob. */
  static async open(path: string, file: HubFile): Promise<PartialBlob> {
    await mkdir(dirname(path), { recursive: true });
    const partial = new PartialBlob(path, file, await open(`${path}.incomplete`, 'a+'));
    try {
      await partial.#takeUp();
      return partial;
    } catch (error) {
      await partial.close();
      throw error;
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  async append(chunk: Uint8Array): Promise<void> {
    await this.#handle.appendFile(chunk);
    this.#hash.update(chunk);
    this.#bytes += chunk.length;
  }

  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.#hash = blobHash(this.#file.digest, this.#file.bytes);
    this.#bytes = 0;
  }

  /** Makes the file whole, and tells whether it is what was announced; what is not is deleted. Call once. */
  async finish(): Promise<boolean> {
    const isRight = this.#bytes === this.#file.bytes && this.#hash.digest('hex') === this.#file.digest;
    if (isRight) await this.#handle.datasync();
    await this.close();
    if (isRight) await rename(`${this.#path}.incomplete`, this.#path);
    else await rm(`${this.#path}.incomplete`);
    return isRight;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #takeUp(): Promise<void> {
    const { size } = await this.#handle.stat();
    if (size > this.#file.bytes) return this.restart();
    const buffer = Buffer.alloc(Math.min(READ_BYTES, size));
    while (this.#bytes < size) {
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, this.#bytes);
      if (bytesRead === 0) break;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#bytes += bytesRead;
    }
  }
}
