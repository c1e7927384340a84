import { readdir, readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { ConfigError, type LLMRuntime, type ModelSource } from '@quire/core';
import { openFolderSource } from './folder-source.ts';

/** `name` or `organisation/name`, as on Hugging Face. */
const MODEL_NAME = /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/;
/** Branches and tags may hold slashes; no part may lead upwards. */
const REVISION = /^(?!\.)[\w.-]+(\/(?!\.)[\w.-]+)*$/;
const DEFAULT_REVISION = 'main';

/**
 * Opens a model: a folder, or the name of one in a Hugging Face cache on this machine (`models--ORG--NAME/snapshots/COMMIT`), at a
 * revision. Nothing is downloaded. Throws ConfigError when a cache lacks the model or the revision, or a plain folder is to have one.
 */
export const openModelSource: LLMRuntime['openSource'] = async (location, options): Promise<ModelSource> => {
  return openFolderSource(await findFolder(location, options));
};

async function findFolder(
  location: string,
  { revision = null, downloadDir = null }: Parameters<LLMRuntime['openSource']>[1],
): Promise<string> {
  if (await isFolder(location)) {
    if (await isFolder(join(location, 'snapshots'))) return snapshotOf(location, revision);
    if (revision === null || basename(location) === revision) return location;
    throw new ConfigError(
      `revision is "${revision}", but ${JSON.stringify(location)} is a plain folder and has none. Name a folder of a Hugging Face cache, or leave it out.`,
      'revision',
    );
  }
  if (!MODEL_NAME.test(location)) return location;
  const caches = cacheFolders(downloadDir);
  for (const cache of caches) {
    const folder = join(cache, `models--${location.replace('/', '--')}`);
    if (await isFolder(folder)) return snapshotOf(folder, revision);
  }
  throw new ConfigError(
    `model is "${location}", which is no folder, and no model of that name is in ${caches.map(cache => JSON.stringify(cache)).join(' or ')}. ` +
      'Quire downloads nothing: bring it there with huggingface-cli download.',
    'model',
  );
}

/** The folder of a revision: a branch or tag that the cache knows, or a commit. */
async function snapshotOf(folder: string, revision: string | null): Promise<string> {
  const wanted = revision ?? DEFAULT_REVISION;
  const commit = REVISION.test(wanted) ? await commitOf(folder, wanted) : wanted;
  const snapshot = join(folder, 'snapshots', commit);
  if (REVISION.test(commit) && (await isFolder(snapshot))) return snapshot;
  const known = await readdir(join(folder, 'snapshots'));
  throw new ConfigError(
    `revision is "${wanted}", which the cache of this model lacks. It has ${known.join(', ') || 'none'}.`,
    'revision',
  );
}

async function commitOf(folder: string, revision: string): Promise<string> {
  const ref = await readFile(join(folder, 'refs', revision), 'utf8').catch(() => revision);
  return ref.trim();
}

function cacheFolders(downloadDir: string | null): string[] {
  if (downloadDir !== null) return [downloadDir];
  const { HF_HUB_CACHE, HF_HOME } = process.env;
  return [HF_HUB_CACHE || join(HF_HOME || join(homedir(), '.cache', 'huggingface'), 'hub')];
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    found => found.isDirectory(),
    () => false,
  );
}
