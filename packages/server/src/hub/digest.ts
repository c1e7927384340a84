import { createHash, type Hash } from 'node:crypto';

/** Hashes a file the way its name among the blobs says: SHA-256 (64 digits), or git's SHA-1 of a blob (40 digits). */
export function blobHash(digest: string, bytes: number): Hash {
  return digest.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${bytes}\0`);
}
