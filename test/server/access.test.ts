/** Who may ask: keys, pages of other origins, certificates, sockets in the file system. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { serverOptions } from '../../packages/server/src/cli/server-flags.ts';
import { createTlsServer, readTls, refreshTls } from '../../packages/server/src/serve/tls.ts';
import { until } from '../support/until.ts';
import { pieces } from './fake-engine.ts';
import { type FakeServer, startFakeServer } from './fake-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-access-'));
afterAll(() => rmSync(folder, { recursive: true }));
const servers: FakeServer[] = [];
afterEach(async () => {
  for (const { server } of servers.splice(0)) await server.close(0);
});

async function start(options: Parameters<typeof startFakeServer>[1]): Promise<FakeServer> {
  const fake = await startFakeServer(request => pieces(request, 1, 'x', 1), options);
  servers.push(fake);
  return fake;
}

describe('keys', () => {
  it('come from flags, from a file, and from the environment', () => {
    const file = join(folder, 'keys');
    writeFileSync(file, '# clients\nfirst\n\n  second  \r\n');
    const env = { VLLM_API_KEY: 'theirs' };
    expect(serverOptions({ 'api-key-file': file }, {}).apiKeys).toEqual(['first', 'second']);
    expect(serverOptions({ 'api-key': ['a', 'b'], 'api-key-file': file }, env).apiKeys).toHaveLength(4);
    expect(serverOptions({}, env).apiKeys).toEqual(['theirs']);
    writeFileSync(file, '# none\n');
    expect(() => serverOptions({ 'api-key-file': file }, {})).toThrow('holds no key');
    expect(() => serverOptions({ 'api-key-file': join(folder, 'absent') }, {})).toThrow('cannot be read');
  });

  it.each(['', 'two words', 'schlüssel'])('that no client could send are refused: %j', async key => {
    const refused = start({ apiKeys: ['good', key] });
    await expect(refused).rejects.toMatchObject({ option: 'apiKey' });
    await expect(refused).rejects.toThrow(key === '' ? 'is empty' : /^(?!.*(words|schl)).*no client could send it/);
  });

  it('are taken from x-api-key too, as Anthropic clients send them', async () => {
    const { origin } = await start({ apiKeys: ['k'] });
    const status = async (headers: Record<string, string>) => (await fetch(`${origin}/v1/models`, { headers })).status;
    expect(await status({ 'x-api-key': 'k' })).toBe(200);
    expect(await status({ 'x-api-key': 'j' })).toBe(401);
    expect(await status({ authorization: 'Bearer j', 'x-api-key': 'k' })).toBe(401);
  });

  it('guard every method of every route, and what is no route', async () => {
    const { app, origin } = await start({ apiKeys: ['k'], allowedOrigins: ['*'], enableSleepMode: true });
    for (const path of [...app.routes.paths, '/nowhere', '/v1/nowhere']) {
      for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD']) {
        if (['/health', '/live'].includes(path)) continue;
        const response = await fetch(`${origin}${path.replace('*', 'x')}`, { method });
        expect([method, path, response.status]).toEqual([method, path, 401]);
      }
    }
    const { error } = (await (await fetch(`${origin}/v1/models`)).json()) as { error: Record<string, unknown> };
    expect(Object.keys(error).sort()).toEqual(['code', 'message', 'param', 'type']);
  });

  it('are not asked for at /metrics where the operator says so', async () => {
    const statuses = async (options: object) => {
      const { origin } = await start({ apiKeys: ['k'], ...options });
      return Promise.all(['/metrics', '/load', '/v1/models'].map(async path => (await fetch(origin + path)).status));
    };
    expect(await statuses({})).toEqual([401, 401, 401]);
    expect(await statuses({ openMetrics: true })).toEqual([200, 401, 401]);
    expect(serverOptions({ 'open-metrics': true }, {}).openMetrics).toBe(true);
  });

  it('never reach the log', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'debug' }, { write: line => void lines.push(line) });
    const fake = await start({ apiKeys: ['s3cret-key'], log });
    for (const authorization of ['Bearer s3cret-key', 'Bearer wr0ng-key']) {
      await (await fetch(`${fake.origin}/v1/models`, { headers: { authorization } })).text();
      await (await fetch(`${fake.origin}/v1/completions`, { method: 'POST', headers: { authorization } })).text();
    }
    await until(() => lines.filter(line => line.includes('"msg":"request"')).length === 4);
    const text = lines.join('');
    expect(text).toContain('/v1/completions');
    expect(text).not.toMatch(/s3cret|wr0ng/);
  });
});

describe('pages of other origins', () => {
  const page = 'https://chat.example';
  const ask = (origin: string, headers: Record<string, string>, method = 'GET') =>
    fetch(`${origin}/v1/models`, { method, headers });

  it('may neither ask nor read by default', async () => {
    const { origin } = await start({});
    const response = await ask(origin, { origin: page });
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ error: { code: 'origin_not_allowed' } });
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
    expect((await ask(origin, { origin: 'null' })).status).toBe(403);
    expect((await ask(origin, { origin: 'http://localhost:3000' })).status).toBe(200);
  });

  it('may read when they are allowed, errors too', async () => {
    const { origin } = await start({ allowedOrigins: [page] });
    const good = await ask(origin, { origin: page });
    expect([good.status, good.headers.get('access-control-allow-origin')]).toEqual([200, page]);
    expect(good.headers.get('access-control-expose-headers')).toContain('x-request-id');
    expect(good.headers.get('vary')).toBe('origin');
    const bad = await fetch(`${origin}/nowhere`, { headers: { origin: page } });
    expect([bad.status, bad.headers.get('access-control-allow-origin')]).toEqual([404, page]);
    expect((await ask(origin, { origin: 'https://evil.example' })).status).toBe(403);
  });

  it('ask beforehand without a key, and then need one', async () => {
    const { origin } = await start({ allowedOrigins: [page], apiKeys: ['k'], allowCredentials: true });
    const asked = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' };
    const preflight = await ask(origin, { origin: page, ...asked }, 'OPTIONS');
    expect(preflight.status).toBe(200);
    expect(preflight.headers.get('access-control-allow-methods')).toContain('POST');
    expect(preflight.headers.get('access-control-allow-headers')).toBe('authorization');
    expect(preflight.headers.get('access-control-allow-credentials')).toBe('true');
    expect((await ask(origin, { origin: page })).status).toBe(401);
    expect((await ask(origin, { origin: 'https://evil.example', ...asked }, 'OPTIONS')).status).toBe(403);
    expect((await ask(origin, { origin: page, authorization: 'Bearer k' })).status).toBe(200);
  });

  it('all of them with a star, and by name where they send cookies', async () => {
    const star = await start({ allowedOrigins: ['*'] });
    expect((await ask(star.origin, { origin: page })).headers.get('access-control-allow-origin')).toBe('*');
    const cookies = await start({ allowedOrigins: ['*'], allowCredentials: true });
    expect((await ask(cookies.origin, { origin: page })).headers.get('access-control-allow-origin')).toBe(page);
    const few = await start({ allowedOrigins: ['*'], allowedMethods: ['GET'], allowedHeaders: ['x-a', 'x-b'] });
    const asked = { origin: page, 'access-control-request-method': 'PUT' };
    const { headers } = await ask(few.origin, asked, 'OPTIONS');
    expect(headers.get('access-control-allow-methods')).toBe('GET');
    expect(headers.get('access-control-allow-headers')).toBe('x-a, x-b');
  });
});

describe('TLS', () => {
  const file = (name: string) => join(folder, name);
  function certificate(name: string, commonName: string): { sslCertfile: string; sslKeyfile: string } {
    const [key, cert] = [file(`${name}.key`), file(`${name}.crt`)];
    const subject = ['-subj', `/CN=${commonName}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
    const made = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    execFileSync('openssl', ['req', ...made, '-keyout', key, '-out', cert, ...subject], { stdio: 'ignore' });
    return { sslCertfile: cert, sslKeyfile: key };
  }
  let own: ReturnType<typeof certificate>;
  beforeAll(() => {
    own = certificate('own', 'own');
  });

  interface Peer {
    status: number;
    commonName: string;
  }
  const ask = (port: number, options: object = {}) =>
    new Promise<Peer>((resolve, reject) => {
      const target = {
        host: '127.0.0.1',
        port,
        path: '/v1/models',
        agent: false,
        rejectUnauthorized: false,
        ...options,
      };
      const req = httpsRequest(target, res => {
        const { subject } = (res.socket as import('node:tls').TLSSocket).getPeerCertificate();
        res.resume().on('end', () => resolve({ status: res.statusCode!, commonName: String(subject.CN) }));
      });
      req.on('error', reject).end();
    });

  it('serves with a certificate, and nothing without TLS', async () => {
    const { port, server } = await start(own);
    expect(server.isSecure).toBe(true);
    expect(await ask(port, { ca: readFileSync(own.sslCertfile), rejectUnauthorized: true })).toEqual({
      status: 200,
      commonName: 'own',
    });
    await expect(fetch(`http://127.0.0.1:${port}/v1/models`)).rejects.toThrow();
    await expect(ask(port, { maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' })).rejects.toThrow();
  });

  it('takes only clients of given authorities', async () => {
    const client = certificate('client', 'client');
    const { port } = await start({ ...own, sslCaCerts: client.sslCertfile });
    const shown = { cert: readFileSync(client.sslCertfile), key: readFileSync(client.sslKeyfile) };
    expect((await ask(port, shown)).status).toBe(200);
    await expect(ask(port)).rejects.toThrow();
  });

  it('takes up files that are replaced, and keeps the old ones where the new cannot be used', async () => {
    const files = certificate('fresh', 'before');
    const told: unknown[] = [];
    const server = createTlsServer(readTls(files)!, {});
    server.on('request', (_req, res) => res.end()).listen(0, '127.0.0.1');
    await new Promise(resolve => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const end = refreshTls(server, files, error => told.push(error), 20);
    expect((await ask(port)).commonName).toBe('before');
    const next = certificate('next', 'after');
    /** Later than what was there, however coarse the clock of the file system is. */
    const replace = (file: string, content: Buffer | string) => {
      const { mtimeMs } = statSync(file);
      writeFileSync(file, content);
      utimesSync(file, new Date(), new Date(mtimeMs + 5000));
    };
    for (const name of ['sslCertfile', 'sslKeyfile'] as const) replace(files[name], readFileSync(next[name]));
    await until(() => told.includes(null));
    expect((await ask(port)).commonName).toBe('after');
    told.length = 0;
    replace(files.sslCertfile, 'nonsense');
    await until(() => told.length > 0);
    expect(told[0]).toMatchObject({ option: 'sslCertfile' });
    expect((await ask(port)).commonName).toBe('after');
    end();
    server.close();
  });

  it.each([
    [{ sslCertfile: 'x.crt' }, 'sslKeyfile', 'is missing'],
    [{ sslKeyfile: 'x.key' }, 'sslCertfile', 'is missing'],
    [{ sslCaCerts: 'x.crt' }, 'sslCertfile', 'is missing'],
    [{ sslCertfile: 'absent.crt', sslKeyfile: 'absent.key' }, 'sslCertfile', 'cannot be read: ENOENT'],
  ])('refuses %j', async (options, option, message) => {
    await expect(start(options)).rejects.toMatchObject({ option, message: expect.stringContaining(message) });
  });

  it('refuses a key of another certificate', async () => {
    const other = certificate('other', 'other');
    const refused = start({ sslCertfile: own.sslCertfile, sslKeyfile: other.sslKeyfile });
    await expect(refused).rejects.toMatchObject({ option: 'sslCertfile' });
  });
});

describe('a socket in the file system', () => {
  const ask = (socketPath: string) =>
    new Promise<number>((resolve, reject) => {
      const req = httpRequest({ socketPath, path: '/v1/models', headers: { host: 'anything' } }, res => {
        res.resume().on('end', () => resolve(res.statusCode!));
      });
      req.on('error', reject).end();
    });

  it('is for this user, and goes with the server', async () => {
    const uds = join(folder, 'a.sock');
    const { server } = await start({ uds });
    expect(await ask(uds)).toBe(200);
    expect(statSync(uds).mode & 0o777).toBe(0o600);
    await expect(start({ uds })).rejects.toMatchObject({ option: 'uds', message: expect.stringContaining('listens') });
    expect(await ask(uds)).toBe(200);
    await server.close(0);
    expect(existsSync(uds)).toBe(false);
  });

  it('takes the place of one whose process has gone, and of nothing else', async () => {
    const uds = join(folder, 'b.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(uds)}, () => process.kill(process.pid, 'SIGKILL'))`;
    expect(() => execFileSync(process.execPath, ['-e', script], { stdio: 'ignore' })).toThrow();
    expect(existsSync(uds)).toBe(true);
    await start({ uds });
    expect(await ask(uds)).toBe(200);
    const plain = join(folder, 'plain');
    writeFileSync(plain, 'mine');
    await expect(start({ uds: plain })).rejects.toMatchObject({ option: 'uds' });
    expect(readFileSync(plain, 'utf8')).toBe('mine');
  });
});

describe('behind a proxy', () => {
  it('answers with and without its prefix, and not beside it', async () => {
    const { origin } = await start({ rootPath: '/llm/', apiKeys: ['k'] });
    const status = async (path: string, authorization = 'Bearer k') =>
      (await fetch(`${origin}${path}`, { headers: { authorization } })).status;
    expect(await status('/llm/v1/models')).toBe(200);
    expect(await status('/v1/models')).toBe(200);
    expect(await status('/llmv1/models')).toBe(404);
    expect(await status('/llm')).toBe(200);
    expect(await status('/llm/health', '')).toBe(200);
    expect(await status('/llm/v1/models', '')).toBe(401);
  });

  it('takes request ids of clients only when told to, and no others than plain ones', async () => {
    const id = async (origin: string, given: string) =>
      (await fetch(`${origin}/v1/models`, { headers: { 'x-request-id': given } })).headers.get('x-request-id');
    const trusting = await start({ enableRequestIdHeaders: true });
    expect(await id(trusting.origin, 'abc-123')).toBe('abc-123');
    expect(await id(trusting.origin, 'a b"c')).toMatch(/^[0-9a-f]{32}$/);
    expect(await id(trusting.origin, 'x'.repeat(200))).toMatch(/^[0-9a-f]{32}$/);
    expect(await id((await start({})).origin, 'abc-123')).toMatch(/^[0-9a-f]{32}$/);
  });
});

it('says that a port is taken', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await new Promise(resolve => taken.once('listening', resolve));
  const { port } = taken.address() as { port: number };
  await expect(start({ port })).rejects.toMatchObject({ option: 'port', message: expect.stringContaining('is taken') });
  taken.close();
});
