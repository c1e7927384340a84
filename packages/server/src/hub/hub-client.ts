import { isModuleFile, isPlainFileName } from '@quire/core/weights';
import { version } from '../version.ts';
import { HubError } from './hub-error.ts';
import type { HubSettings } from './hub-settings.ts';

/** A hub that sends nothing for this long is given up. */
const STALL_MS = 30_000;
const MAX_LISTING_BYTES = 32 * 2 ** 20;
const MAX_REDIRECTS = 5;
const COMMIT = /^[0-9a-f]{40}$/;

/** One file of a model at a commit, as the hub lists it. */
export interface HubFile {
  /** Directly in the model's folder. */
  readonly name: string;
  readonly bytes: number;
  /** SHA-256 of a large file, git's SHA-1 of another: its name among the blobs of a cache, and what it is checked against. */
  readonly digest: string;
}

export interface HubListing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

/** The part of a file from some byte on. */
export interface HubBody {
  /** Where the chunks begin: 0 when the hub sends the whole file again. */
  readonly start: number;
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** The two routes of a hub that a download needs: the files of a revision, and a file. */
export class HubClient {
  readonly #settings: HubSettings;
  readonly #stallMs: number;

  constructor(settings: HubSettings, stallMs = STALL_MS) {
    this.#settings = settings;
    this.#stallMs = stallMs;
  }

  /** The files of a model at a branch, tag or commit; those in subfolders are left out. Throws HubError. */
  async list(model: string, revision: string): Promise<HubListing> {
    const url = this.#url(`api/models/${model}/revision/${encodeURIComponent(revision)}`);
    url.searchParams.set('blobs', 'true');
    const stall = new Stall(this.#stallMs);
    try {
      const { response } = await this.#get(url, {}, stall, `${model} at ${revision}`);
      const listing: unknown = JSON.parse(await readText(response, stall));
      return readListing(listing, model);
    } catch (error) {
      throw error instanceof SyntaxError ? badAnswer(model, 'the list of its files is not JSON') : error;
    } finally {
      stall.end();
    }
  }

  /** A file from byte `start` on. Throws HubError, at once or from the chunks. */
  async open(model: string, commit: string, file: HubFile, start: number): Promise<HubBody> {
    const url = this.#url(`${model}/resolve/${commit}/${encodeURIComponent(file.name)}`);
    const stall = new Stall(this.#stallMs);
    try {
      const range: Record<string, string> = start > 0 ? { range: `bytes=${start}-` } : {};
      const { response, etag, repoCommit } = await this.#get(url, range, stall, `${file.name} of ${model}`);
      if (repoCommit !== null && repoCommit !== commit) throw badAnswer(model, `${file.name} is of another commit`);
      if (etag !== null && etag !== file.digest) {
        throw badAnswer(model, `${file.name} has the digest ${etag.slice(0, 80)}, and ${file.digest} was listed`);
      }
      return { start: startOf(response, start, file, model), chunks: chunksOf(response, stall) };
    } catch (error) {
      stall.end();
      throw error;
    }
  }

  #url(path: string): URL {
    const { endpoint } = this.#settings;
    return new URL(`${endpoint.pathname.replace(/\/$/, '')}/${path}`, endpoint);
  }

  /** Follows redirects by hand: what the hub itself says of the file is in its own answer, and the token is for the hub alone. */
  async #get(url: URL, headers: Record<string, string>, stall: Stall, what: string): Promise<Answer> {
    let [at, etag, repoCommit]: [URL, string | null, string | null] = [url, null, null];
    for (let i = 0; i <= MAX_REDIRECTS; i++) {
      const atHub = at.origin === this.#settings.endpoint.origin;
      const response = await this.#fetch(at, headers, atHub, stall);
      if (atHub) {
        etag = bareTag(response.headers.get('x-linked-etag')) ?? (response.ok ? hashTag(response) : etag);
        repoCommit = response.headers.get('x-repo-commit') ?? repoCommit;
      }
      const next = response.headers.get('location');
      if (response.status < 300 || response.status >= 400 || next === null) {
        if (!response.ok) throw await refusal(response, what, at, this.#settings);
        return { response, etag, repoCommit };
      }
      await response.body?.cancel();
      at = this.#target(next, at, what);
    }
    throw badAnswer(what, `more than ${MAX_REDIRECTS} redirects`);
  }

  #target(location: string, from: URL, what: string): URL {
    const url = URL.canParse(location, from) ? new URL(location, from) : null;
    const secure = from.protocol === 'https:' ? ['https:'] : ['https:', 'http:'];
    if (url !== null && secure.includes(url.protocol)) return url;
    throw badAnswer(what, 'a redirect to what is no address, or leaves https');
  }

  async #fetch(url: URL, headers: Record<string, string>, atHub: boolean, stall: Stall): Promise<Response> {
    const { token } = this.#settings;
    const authorization: Record<string, string> = atHub && token !== null ? { authorization: `Bearer ${token}` } : {};
    const own = { 'user-agent': `quire/${version}`, 'accept-encoding': 'identity' };
    try {
      const all = { ...own, ...headers, ...authorization };
      return await fetch(url, { headers: all, redirect: 'manual', signal: stall.signal });
    } catch (error) {
      throw unreachable(url.host, error);
    }
  }
}

interface Answer {
  response: Response;
  etag: string | null;
  repoCommit: string | null;
}

/** Aborts a transfer in which nothing has come for a while. */
class Stall {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(ms: number) {
    const error = new HubError('hub_unreachable', `The hub sent nothing for ${ms / 1000} s.`, { transient: true });
    this.#timer = setTimeout(() => this.#controller.abort(error), ms);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  moved(): void {
    this.#timer.refresh();
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

async function* chunksOf(response: Response, stall: Stall): AsyncIterable<Uint8Array> {
  try {
    for await (const chunk of response.body ?? []) {
      stall.moved();
      yield chunk;
    }
  } catch (error) {
    throw error instanceof HubError ? error : unreachable(new URL(response.url).host, error);
  } finally {
    stall.end();
  }
}

async function readText(response: Response, stall: Stall): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(response, stall)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MAX_LISTING_BYTES) throw badAnswer('the hub', `a list of more than ${MAX_LISTING_BYTES} bytes`);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Where the body of an answer to a range begins. */
function startOf({ status, headers }: Response, asked: number, file: HubFile, model: string): number {
  if (status !== 206) return 0;
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get('content-range') ?? '');
  if (range !== null && Number(range[1]) === asked && ['*', String(file.bytes)].includes(range[2]!)) return asked;
  throw badAnswer(model, `${file.name} from byte ${asked} on was asked for, and another part came`);
}

/** An entity tag without its quotes. */
function bareTag(tag: string | null): string | null {
  return tag === null ? null : tag.replace(/^W\//, '').replace(/^"(.*)"$/, '$1');
}

/** The hub's own tag of a file that it sends itself, where that is a digest. */
function hashTag({ headers }: Response): string | null {
  const tag = bareTag(headers.get('etag'));
  return tag !== null && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(tag) ? tag : null;
}

function readListing(value: unknown, model: string): HubListing {
  const { sha, siblings } = (value ?? {}) as { sha?: unknown; siblings?: unknown };
  if (typeof sha !== 'string' || !COMMIT.test(sha)) throw badAnswer(model, 'no commit');
  if (!Array.isArray(siblings)) throw badAnswer(model, 'no list of its files');
  const files = siblings.map(readFile).filter(file => file !== null);
  return { commit: sha, files: new Map(files.map(file => [file.name, file])) };
}

/** null: a file in a subfolder (but for settings of sentence-transformers), or one that cannot be checked. */
function readFile(value: unknown): HubFile | null {
  const { rfilename, size, blobId, lfs } = (value ?? {}) as Record<string, unknown>;
  if (typeof rfilename !== 'string' || !(isPlainFileName(rfilename) || isModuleFile(rfilename))) return null;
  const large = lfs as { sha256?: unknown; size?: unknown } | null | undefined;
  const [digest, bytes] = large ? [large.sha256, large.size ?? size] : [blobId, size];
  const form = large ? /^[0-9a-f]{64}$/ : COMMIT;
  if (typeof digest !== 'string' || !form.test(digest)) return null;
  if (!Number.isSafeInteger(bytes) || (bytes as number) < 0) return null;
  return { name: rfilename, bytes: bytes as number, digest };
}

async function refusal(response: Response, what: string, { host }: URL, settings: HubSettings): Promise<HubError> {
  await response.body?.cancel();
  const { status, headers } = response;
  const reason = headers.get('x-error-code') ?? '';
  const said = `${host} answered ${status}${reason === '' ? '' : ` ${reason.slice(0, 40)}`} for ${what}.`;
  if (status === 404) return new HubError('hub_not_found', `${said} Check the name and the revision.`);
  if (status === 401 || status === 403) return new HubError('hub_access', `${said} ${accessAdvice(reason, settings)}`);
  const transient = status >= 500 || status === 429 || status === 408;
  return new HubError(transient ? 'hub_unreachable' : 'hub_answer', said, { transient });
}

/** The hub answers 401 for a model that does not exist, so as not to tell which private ones do. */
function accessAdvice(reason: string, { token, endpoint }: HubSettings): string {
  const asWho = token === null ? 'No token was sent: set HF_TOKEN.' : 'The token in HF_TOKEN does not open it.';
  if (reason === 'GatedRepo') return `The model is gated: ask for access on ${endpoint.origin}. ${asWho}`;
  return `There is no such model, or it is private. Check the name. ${asWho}`;
}

function unreachable(host: string, error: unknown): HubError {
  if (error instanceof HubError) return error;
  const { cause, message } = error as Error & { cause?: { code?: string; message?: string } };
  const reason = cause?.code ?? cause?.message ?? message;
  return new HubError('hub_unreachable', `${host} cannot be reached, or broke off: ${reason}.`, {
    cause: error,
    transient: true,
  });
}

function badAnswer(what: string, found: string): HubError {
  return new HubError('hub_answer', `The hub's answer for ${what} makes no sense: ${found}.`);
}
