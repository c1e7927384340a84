import { readFileSync } from 'node:fs';
import type { LoraModule, ServerOptions } from '../serve/start-server.ts';
import { type FlagSpecs, type FlagValues, UsageError } from './flags.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'];

/** Where it listens. Names of all groups are vLLM's, where vLLM has the flag. */
export const addressFlags = {
  host: {
    type: 'string',
    value: 'HOST',
    help: 'Address to listen on. Default 127.0.0.1: this machine alone. 0.0.0.0 opens it to the network.',
    env: 'QUIRE_HOST',
  },
  port: {
    type: 'integer',
    value: 'N',
    help: 'Port to listen on; 0 takes a free one. Default 8000.',
    env: 'QUIRE_PORT',
  },
  uds: { type: 'string', value: 'FILE', help: 'Listen on this Unix socket instead, which only this user may open.' },
  'root-path': { type: 'string', value: 'PATH', help: 'What a proxy in front puts before every path, such as /llm.' },
  'ssl-certfile': { type: 'string', value: 'FILE', help: 'Certificate chain in PEM: speak HTTPS.' },
  'ssl-keyfile': { type: 'string', value: 'FILE', help: 'Its private key in PEM.' },
  'ssl-ca-certs': { type: 'string', value: 'FILE', help: 'Take only clients with a certificate of these authorities.' },
  'enable-ssl-refresh': { type: 'boolean', help: 'Take up these files when they are replaced, for new connections.' },
} as const satisfies FlagSpecs;

export const accessFlags = {
  'api-key': {
    type: 'list',
    value: 'KEY',
    help: 'Key that clients must send. May be given several times. Others on this machine can see it: a file is better.',
    env: 'QUIRE_API_KEY',
  },
  'api-key-file': {
    type: 'string',
    value: 'FILE',
    help: 'A file with one key per line; empty lines and those that begin with # do not count.',
    env: 'QUIRE_API_KEY_FILE',
  },
  'open-metrics': {
    type: 'boolean',
    help: 'Answer /metrics without a key, as vLLM does: inference gateways send none. Default: only with a key, if there are keys.',
  },
  'allowed-origins': {
    type: 'names',
    value: 'ORIGINS',
    help: 'Web pages that may read answers: https://a.example,https://b.example or *. Default none.',
  },
  'allowed-methods': { type: 'names', value: 'METHODS', help: 'Methods that these pages may use. Default *.' },
  'allowed-headers': { type: 'names', value: 'HEADERS', help: 'Headers that these pages may send. Default *.' },
  'allow-credentials': { type: 'boolean', help: 'Let these pages send cookies.' },
  'enable-sleep-mode': {
    type: 'boolean',
    help: 'Let requests put the engine to sleep and wake it: POST /sleep?level=1 and POST /wake_up.',
  },
} as const satisfies FlagSpecs;

/** What is served beside the plain routes. */
export const featureFlags = {
  'tool-call-parser': {
    type: 'string',
    value: 'NAME',
    help: 'How the model writes calls of tools: hermes, llama3_json. Default: what its chat template shows plainly.',
  },
  'enable-auto-tool-choice': {
    type: 'boolean',
    help: 'Let the model decide whether it calls tools. Default where it is known how it writes calls.',
  },
  'reasoning-parser': {
    type: 'string',
    value: 'NAME',
    help: 'How the model sets its reasoning apart: deepseek_r1, qwen3. Default: it does not.',
  },
  'lora-modules': {
    type: 'list',
    value: 'NAME=FOLDER',
    help: 'Serve the adapter in FOLDER as the model NAME. May be given several times, with several adapters each. Needs --enable-lora.',
  },
  'lora-folder': {
    type: 'list',
    value: 'FOLDER',
    help: 'Let requests load and unload adapters that lie in FOLDER: POST /v1/load_lora_adapter and /v1/unload_lora_adapter. May be given several times. Needs --enable-lora.',
  },
  ui: {
    type: 'boolean',
    help: 'Serve a page at /ui/ that shows the steps of the engine as they happen, and chats.',
  },
  'batch-folder': {
    type: 'string',
    value: 'FOLDER',
    help: 'Serve /v1/files and /v1/batches, and keep them in FOLDER, which is for this server alone.',
    env: 'QUIRE_BATCH_FOLDER',
  },
  'batch-queue': {
    type: 'string',
    value: 'URL',
    help: 'Share the requests of batches among servers through a Redis, such as redis://host:6379.',
    env: 'QUIRE_BATCH_QUEUE',
  },
} as const satisfies FlagSpecs;

export const runFlags = {
  strict: {
    type: 'boolean',
    help: 'Refuse request fields that would be ignored, instead of listing them in x-quire-ignored-fields.',
  },
  'shutdown-timeout': {
    type: 'number',
    value: 'S',
    help: 'Seconds that requests in progress have to finish after SIGTERM or SIGINT. Default 30.',
  },
  'log-level': {
    type: 'string',
    value: 'LEVEL',
    help: `${LOG_LEVELS.join(', ')}. Logs are JSON lines on standard error, without prompts. Default info.`,
    env: 'QUIRE_LOG_LEVEL',
  },
  'disable-uvicorn-access-log': { type: 'boolean', help: 'Log no line per request.' },
  'enable-request-id-headers': {
    type: 'boolean',
    help: "Take a request's id from its X-Request-Id. Default: every request gets one of ours.",
  },
} as const satisfies FlagSpecs;

type Flags = FlagValues<typeof addressFlags & typeof accessFlags & typeof featureFlags & typeof runFlags>;

/** Options of the HTTP side. Throws UsageError for a file of keys that cannot be read, or has none. */
export function serverOptions(given: Flags, env: Readonly<Record<string, string | undefined>>): Partial<ServerOptions> {
  const { host, port, uds, strict } = given;
  return {
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port }),
    uds,
    strict,
    apiKeys: apiKeys(given, env.VLLM_API_KEY),
    toolCallParser: given['tool-call-parser'],
    enableAutoToolChoice: given['enable-auto-tool-choice'],
    reasoningParser: given['reasoning-parser'],
    loraModules: given['lora-modules']?.map(readLoraModule),
    loraFolder: given['lora-folder'],
    ui: given.ui,
    batchFolder: given['batch-folder'],
    batchQueue: given['batch-queue'],
    openMetrics: given['open-metrics'],
    rootPath: given['root-path'],
    sslCertfile: given['ssl-certfile'],
    sslKeyfile: given['ssl-keyfile'],
    sslCaCerts: given['ssl-ca-certs'],
    enableSslRefresh: given['enable-ssl-refresh'],
    allowedOrigins: given['allowed-origins'],
    allowedMethods: given['allowed-methods'],
    allowedHeaders: given['allowed-headers'],
    allowCredentials: given['allow-credentials'],
    enableSleepMode: given['enable-sleep-mode'],
    disableAccessLog: given['disable-uvicorn-access-log'],
    enableRequestIdHeaders: given['enable-request-id-headers'],
  };
}

/** `name=folder`, or vLLM's JSON. */
export function readLoraModule(text: string): LoraModule {
  const [, name, path] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (!text.startsWith('{') && name !== undefined && path !== undefined) return { name, path };
  try {
    const given = JSON.parse(text) as Record<string, unknown>;
    if (typeof given.name === 'string' && typeof given.path === 'string') return { name: given.name, path: given.path };
  } catch {
    // Told below.
  }
  throw new UsageError(
    `--lora-modules must be NAME=FOLDER or {"name": ..., "path": ...}, got ${JSON.stringify(text)}.`,
  );
}

function apiKeys(given: Flags, ofEnvironment = ''): string[] {
  const file = given['api-key-file'];
  const flags = given['api-key'] ?? (ofEnvironment === '' ? [] : [ofEnvironment]);
  return [...flags, ...(file === undefined ? [] : readKeys(file))];
}

function readKeys(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`--api-key-file cannot be read: ${(error as Error).message}`);
  }
  const lines = text.split('\n').map(line => line.trim());
  const keys = lines.filter(line => line !== '' && !line.startsWith('#'));
  if (keys.length === 0) throw new UsageError(`--api-key-file ${JSON.stringify(file)} holds no key.`);
  return keys;
}
