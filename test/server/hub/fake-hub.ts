/** A model hub on this machine: the routes that a download uses, and the ways in which they fail. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const MODEL = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/([^/?]+)/;
const FILE = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/([^/?]+)/;
/** Larger files lie elsewhere, as those of git-lfs. */
const LARGE = 10_000;

export interface HubRequest {
  path: string;
  authorization: string | undefined;
  range: string | undefined;
}

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const gitHash = (bytes: Uint8Array) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

export class FakeHub {
  readonly requests: HubRequest[] = [];
  readonly model: string;
  readonly commit = 'c'.repeat(40);
  files: ReadonlyMap<string, Uint8Array>;
  /** Answers in the place of the usual ones. True: it has answered. */
  trouble: (req: IncomingMessage, res: ServerResponse, file: string | null) => boolean = () => false;
  /** What the CDN sends in the place of a file. */
  readonly wrong = new Map<string, Uint8Array>();
  readonly #hub: Server;
  readonly #cdn: Server;

  constructor(model: string, files: ReadonlyMap<string, Uint8Array>) {
    this.model = model;
    this.files = files;
    this.#hub = createServer((req, res) => this.#answer(req, res));
    this.#cdn = createServer((req, res) => this.#send(req, res, decodeURIComponent(req.url!.slice(1))));
  }

  async listen(): Promise<this> {
    for (const server of [this.#hub, this.#cdn]) {
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    }
    return this;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    }
  }

  /** Names of files that were asked for, in order. */
  get asked(): string[] {
    return this.requests.flatMap(({ path }) => FILE.exec(path)?.[3] ?? []);
  }

  #answer(req: IncomingMessage, res: ServerResponse): void {
    const { authorization, range } = req.headers;
    this.requests.push({ path: req.url!, authorization, range });
    const [, , , file = null] = FILE.exec(req.url!) ?? [];
    if (this.trouble(req, res, file)) return;
    const listed = MODEL.exec(req.url!);
    if (listed !== null) {
      this.#list(res, listed[1]!, decodeURIComponent(listed[2]!));
      return;
    }
    const bytes = file === null ? undefined : this.files.get(file);
    if (file === null || bytes === undefined) {
      refuse(res, 404, 'EntryNotFound');
      return;
    }
    res.setHeader('x-repo-commit', this.commit);
    if (bytes.length < LARGE) {
      res.setHeader('etag', `"${gitHash(bytes)}"`);
      this.#send(req, res, file);
      return;
    }
    res.setHeader('x-linked-etag', `"${sha256(bytes)}"`);
    res.setHeader('x-linked-size', bytes.length);
    const { port } = this.#cdn.address() as AddressInfo;
    res.writeHead(302, { location: `http://localhost:${port}/${encodeURIComponent(file)}` }).end();
  }

  #list(res: ServerResponse, model: string, revision: string): void {
    if (model !== this.model) {
      refuse(res, 401, 'RepoNotFound');
      return;
    }
    if (!['main', 'refs/pr/1', this.commit].includes(revision)) {
      refuse(res, 404, 'RevisionNotFound');
      return;
    }
    const siblings = [...this.files].map(([rfilename, bytes]) => ({
      rfilename,
      size: bytes.length,
      blobId: gitHash(bytes),
      ...(bytes.length < LARGE ? {} : { lfs: { sha256: sha256(bytes), size: bytes.length, pointerSize: 134 } }),
    }));
    res.setHeader('content-type', 'application/json');
    res.end(JSON.stringify({ id: model, sha: this.commit, siblings }));
  }

  #send(req: IncomingMessage, res: ServerResponse, file: string): void {
    if (req.socket.localPort === (this.#cdn.address() as AddressInfo).port) {
      const { authorization, range } = req.headers;
      this.requests.push({ path: `cdn:${file}`, authorization, range });
      if (this.trouble(req, res, `cdn:${file}`)) return;
    }
    const bytes = this.wrong.get(file) ?? this.files.get(file)!;
    const start = Number(/^bytes=(\d+)-$/.exec(req.headers.range ?? '')?.[1] ?? 0);
    if (start > 0) res.setHeader('content-range', `bytes ${start}-${bytes.length - 1}/${bytes.length}`);
    res.writeHead(start > 0 ? 206 : 200, { 'content-length': bytes.length - start }).end(bytes.subarray(start));
  }
}

export function refuse(res: ServerResponse, status: number, code: string): void {
  res.writeHead(status, { 'x-error-code': code, 'content-type': 'application/json' }).end('{"error":"no"}');
}
