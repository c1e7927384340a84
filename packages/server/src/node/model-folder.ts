import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ConfigError, type ModelSource, openGguf, type SourceOptions } from '@quire/core';
import { CachedModel, isFolder, isRevision } from '../hub/cached-model.ts';
import { isComplete } from '../hub/complete.ts';
import { HubError } from '../hub/hub-error.ts';
import { type HubSettings, hubSettings } from '../hub/hub-settings.ts';
import type { WantedWeights } from '../hub/needed-files.ts';
import { openFolderSource } from './folder-source.ts';
import type { OnTransfer } from './transfer-progress.ts';

/** `name` or `organisation/name`, as on Hugging Face. */
const MODEL_NAME = /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/;
const DEFAULT_REVISION = 'main';

export interface FindModelOptions extends SourceOptions {
  /** Told how far a download is. */
  readonly onDownload?: OnTransfer | undefined;
  /** Wait before a hub that did not answer is asked again. Default 1 s; each further wait is twice as long. */
  readonly retryMs?: number | undefined;
}

/** Opens what `findModel` finds: a GGUF file, a folder that holds one and no config.json, or a folder of Hugging Face. */
export async function openModelSource(location: string, options: FindModelOptions): Promise<ModelSource> {
  const folder = await findModel(location, options);
  if (await isFile(folder)) return openGgufIn(await openFolderSource(dirname(folder)), basename(folder));
  const source = await openFolderSource(folder);
  const files = await source.list();
  const [file, ...others] = files.filter(name => name.endsWith('.gguf'));
  if (file === undefined || others.length > 0 || files.includes('config.json')) return source;
  return openGgufIn(source, file);
}

async function openGgufIn(folder: ModelSource, file: string): Promise<ModelSource> {
  try {
    return await openGguf(folder, file);
  } catch (error) {
    await folder.close();
    throw error;
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    found => found.isFile(),
    () => false,
  );
}

/**
 * The folder of a model: `location` itself, or that of a model of this name in the Hugging Face cache, at a revision. What the cache
 * lacks is downloaded, unless HF_HUB_OFFLINE says otherwise; what it has whole is used without a question to the hub.
 *
 * Throws ConfigError when there is no such model or revision here and none may be downloaded, or a plain folder is to have a
 * revision, and HubError when a download fails. A name that can be none is returned as it is: whoever opens it tells.
 */
export async function findModel(location: string, options: FindModelOptions): Promise<string> {
  const { revision = null, downloadDir = null } = options;
  if (await isFolder(location)) {
    if (await isFolder(join(location, 'snapshots'))) return snapshotOf(new CachedModel(location), revision);
    if (revision === null || basename(location) === revision) return location;
    throw new ConfigError(
      `revision is "${revision}", but ${JSON.stringify(location)} is a plain folder and has none. Name a folder of a Hugging Face cache, or leave it out.`,
      'revision',
    );
  }
  if (!MODEL_NAME.test(location) || (location.endsWith('.gguf') && (await isFile(location)))) return location;
  const settings = hubSettings(downloadDir);
  const cached = CachedModel.named(settings.cache, location);
  if (settings.offline) return offline(cached, location, revision, settings);
  const weights = options.weights ?? 'any';
  const found = await cached.snapshot(revision ?? DEFAULT_REVISION);
  if (found !== null && (await isComplete(found, weights))) return found;
  const { onDownload, retryMs } = options;
  return download({ cached, location, revision, weights, settings, found, onDownload, retryMs });
}

async function offline(
  cached: CachedModel,
  location: string,
  revision: string | null,
  { cache }: HubSettings,
): Promise<string> {
  if (await isFolder(join(cached.folder, 'snapshots'))) return snapshotOf(cached, revision);
  throw new ConfigError(
    `model is "${location}", which is no folder, and no model of that name is in ${JSON.stringify(cache)}. ` +
      'HF_HUB_OFFLINE is set: unset it to download the model.',
    'model',
  );
}

interface Download {
  cached: CachedModel;
  location: string;
  revision: string | null;
  weights: WantedWeights;
  settings: HubSettings;
  /** A snapshot that lacks something. */
  found: string | null;
  onDownload: OnTransfer | undefined;
  retryMs: number | undefined;
}

async function download({ location, revision, found, ...rest }: Download): Promise<string> {
  const wanted = revision ?? DEFAULT_REVISION;
  if (!isRevision(wanted))
    throw new ConfigError(`revision is ${JSON.stringify(wanted)}, which names none.`, 'revision');
  const { downloadModel } = await import('../hub/download-model.ts');
  try {
    return await downloadModel({ model: location, revision: wanted, ...rest });
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    // The snapshot may do as it is; if it does not, whoever loads it says what it lacks.
    if (found !== null && error.code === 'hub_unreachable') return found;
    if (error.code !== 'hub_not_found' && error.code !== 'hub_access') throw error;
    throw new ConfigError(`model is "${location}", which is no folder here. ${error.message}`, 'model');
  }
}

/** The folder of a revision: a branch or tag that the cache knows, or a commit. */
async function snapshotOf(cached: CachedModel, revision: string | null): Promise<string> {
  const wanted = revision ?? DEFAULT_REVISION;
  const snapshot = await cached.snapshot(wanted);
  if (snapshot !== null) return snapshot;
  const known = await cached.commits();
  throw new ConfigError(
    `revision is "${wanted}", which the cache of this model lacks. It has ${known.join(', ') || 'none'}.`,
    'revision',
  );
}
