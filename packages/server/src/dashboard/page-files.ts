import { readdir, readFile } from 'node:fs/promises';
import { extname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '@quire/core';
import type { Reply } from '../http/reply.ts';

/** Where the build puts the page: beside the compiled server, also when this file is run from its source. */
const folder = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '../../dist/page' : '../page', import.meta.url));

const types: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
};

/** The page runs its own scripts alone, and talks to this server alone. */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** The files of the page by their path below it, as replies. Rejects with ConfigError where it was not built. */
export async function readPage(from = folder): Promise<ReadonlyMap<string, Reply>> {
  const entries = await readdir(from, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name));
  const pages = new Map<string, Reply>();
  for (const file of files) {
    const type = types[extname(file)];
    const path = relative(from, file).split(sep).join('/');
    if (type !== undefined) pages.set(path, pageReply(path, type, await readFile(file)));
  }
  if (pages.has('index.html')) return pages;
  throw new ConfigError('ui: the page is not there. Build it with "npm run build".', 'ui');
}

/** Names of assets hold a hash of what is in them. */
function pageReply(path: string, type: string, body: Uint8Array): Reply {
  const isHashed = path.startsWith('assets/');
  return {
    status: 200,
    headers: {
      'content-type': type,
      'cache-control': isHashed ? 'public, max-age=31536000, immutable' : 'no-cache',
      'content-security-policy': policy,
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    },
    body,
  };
}
