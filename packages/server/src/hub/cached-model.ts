import { mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

/** Branches and tags may hold slashes; no part may lead upwards. */
const REVISION = /^(?!\.)[\w.-]+(\/(?!\.)[\w.-]+)*$/;

/**
 * A model in a cache of Hugging Face: `blobs/DIGEST` hold the files, `snapshots/COMMIT` link to them by name, and `refs/REVISION` say
 * which commit a branch or tag was when it was last looked up.
 */
export class CachedModel {
  readonly folder: string;

  /** `folder`: `models--ORG--NAME`. */
  constructor(folder: string) {
    this.folder = folder;
  }

  static named(cache: string, model: string): CachedModel {
    return new CachedModel(join(cache, `models--${model.replace('/', '--')}`));
  }

  /** The folder of a branch, tag or commit that the cache knows; null where it does not. */
  async snapshot(revision: string): Promise<string | null> {
    if (!isRevision(revision)) return null;
    const ref = await readFile(join(this.folder, 'refs', revision), 'utf8').catch(() => revision);
    const commit = ref.trim();
    if (!isRevision(commit)) return null;
    const folder = this.snapshotOf(commit);
    return (await isFolder(folder)) ? folder : null;
  }

  snapshotOf(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  blob(digest: string): string {
    return join(this.folder, 'blobs', digest);
  }

  /** Commits that the cache has. */
  async commits(): Promise<string[]> {
    return readdir(join(this.folder, 'snapshots')).catch(() => []);
  }

  /** Makes a blob a file of a snapshot, in place of what is there: by a link, or where the file system has none, by moving it. */
  async place(commit: string, name: string, digest: string): Promise<void> {
    const file = join(this.snapshotOf(commit), name);
    const link = `${file}.new`;
    await mkdir(dirname(file), { recursive: true });
    try {
      await rm(link, { force: true });
      await symlink(relative(dirname(file), this.blob(digest)), link);
      await rename(link, file);
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (!['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'].includes(code)) throw error;
      await rename(this.blob(digest), file);
    }
  }

  /** Notes which commit a branch or tag is. The file is whole at every moment. */
  async setRef(revision: string, commit: string): Promise<void> {
    if (revision === commit) return;
    const file = join(this.folder, 'refs', revision);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(`${file}.new`, commit);
    await rename(`${file}.new`, file);
  }
}

/** Whether a branch, tag or commit may be part of a path. */
export function isRevision(revision: string): boolean {
  return REVISION.test(revision);
}

export async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    found => found.isDirectory(),
    () => false,
  );
}
