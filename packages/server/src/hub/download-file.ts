import type { CachedModel } from './cached-model.ts';
import type { HubClient, HubFile } from './hub-client.ts';
import { HubError } from './hub-error.ts';
import { PartialBlob } from './partial-blob.ts';
import { retrying } from './retrying.ts';

/** Tries in a row that bring nothing before a download is given up. */
const MAX_FAILURES = 5;

export interface DownloadOptions {
  readonly model: string;
  readonly commit: string;
  readonly cached: CachedModel;
  readonly client: HubClient;
  /** Wait before the second try. Milliseconds. */
  readonly retryMs: number;
  /** Told of bytes that came, and of those that turned out wrong (below 0). */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Brings a file among the blobs of a cached model. A connection that breaks is taken up where it broke, in this process or the next.
 * Throws HubError: hub_integrity when the bytes are not those announced, hub_unreachable after five tries in a row without a byte.
 */
export async function downloadFile(file: HubFile, options: DownloadOptions): Promise<void> {
  const { cached, onBytes } = options;
  const partial = await PartialBlob.open(cached.blob(file.digest), file);
  const isResumed = partial.bytes > 0;
  onBytes(partial.bytes);
  try {
    await retrying(() => transfer(partial, file, options), {
      most: MAX_FAILURES,
      waitMs: options.retryMs,
      progress: () => partial.bytes,
    });
  } catch (error) {
    await partial.close();
    throw error;
  }
  const { bytes } = partial;
  if (await partial.finish()) return;
  onBytes(-bytes);
  // What an earlier process left may have been wrong; what came now was asked for anew.
  if (isResumed) return downloadFile(file, options);
  throw new HubError(
    'hub_integrity',
    `${file.name} of ${options.model} is not what the hub announced: its digest is not ${file.digest}. It was deleted. Try again, or ask who runs the hub.`,
  );
}

async function transfer(partial: PartialBlob, file: HubFile, options: DownloadOptions): Promise<void> {
  if (partial.bytes === file.bytes) return;
  const { client, model, commit, onBytes } = options;
  const { start, chunks } = await client.open(model, commit, file, partial.bytes);
  if (start !== partial.bytes) {
    onBytes(-partial.bytes);
    await partial.restart();
  }
  for await (const chunk of chunks) {
    if (partial.bytes + chunk.length > file.bytes) {
      throw new HubError('hub_integrity', `${file.name} of ${model} is longer than the ${file.bytes} bytes announced.`);
    }
    await partial.append(chunk);
    onBytes(chunk.length);
  }
  if (partial.bytes < file.bytes) throw endedEarly(file, partial.bytes);
}

function endedEarly(file: HubFile, bytes: number): HubError {
  const message = `The hub sent ${bytes} of the ${file.bytes} bytes of ${file.name}.`;
  return new HubError('hub_unreachable', message, { transient: true });
}
