import { parseEngineConfig } from '@quire/core';
import { pino } from 'pino';
import { type RunningServer, startServer } from '../../serve/start-server.ts';
import { bringModel } from '../bring-model.ts';
import type { Command, CommandIo } from '../command.ts';
import { deviceFlag, engineFlags, engineOptions } from '../engine-flags.ts';
import { helpFlag, parseFlags, UsageError } from '../flags.ts';

const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'];

const serverFlags = {
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
  'api-key': {
    type: 'list',
    value: 'KEY',
    help: 'Key that clients must send. May be given several times.',
    env: 'QUIRE_API_KEY',
  },
  strict: {
    type: 'boolean',
    help: 'Refuse request fields that would be ignored, instead of listing them in x-quire-ignored-fields.',
  },
  'enable-sleep-mode': {
    type: 'boolean',
    help: 'Let requests put the engine to sleep and wake it: POST /sleep?level=1 and POST /wake_up.',
  },
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
} as const;
const flags = { ...serverFlags, ...deviceFlag, ...engineFlags, ...helpFlag } as const;

export const serve: Command = {
  usage: ['serve MODEL [flags]'],
  about:
    'Serves a model over an OpenAI-compatible HTTP API. MODEL is a folder, or a name such as org/name on Hugging Face, which is downloaded into the cache when it is not there.',
  groups: [
    { title: 'Server', flags: serverFlags },
    { title: 'Engine', flags: { ...deviceFlag, ...engineFlags } },
  ],
  async run(argv, io) {
    const { flags: given, positionals } = parseFlags(argv, flags, io.env);
    const [model] = positionals;
    if (model === undefined || positionals.length > 1) {
      throw new UsageError(
        `serve takes one MODEL, a folder or a name, got ${positionals.length}: quire serve models/tiny-llama`,
      );
    }
    const level = given['log-level'] ?? 'info';
    if (!LOG_LEVELS.includes(level))
      throw new UsageError(`--log-level must be one of ${LOG_LEVELS.join(', ')}, got "${level}".`);
    const log = pino({ level }, pino.destination(2));
    const options = { model, ...engineOptions(given) };
    await bringModel(parseEngineConfig(options), model, line => log.info(line));
    const server = await startServer({
      ...options,
      ...(given.device === undefined ? {} : { device: given.device }),
      ...(given.host === undefined ? {} : { host: given.host }),
      ...(given.port === undefined ? {} : { port: given.port }),
      engineProcess: true,
      apiKeys: given['api-key'] ?? [],
      strict: given.strict,
      toolCallParser: given['tool-call-parser'],
      enableAutoToolChoice: given['enable-auto-tool-choice'],
      reasoningParser: given['reasoning-parser'],
      enableSleepMode: given['enable-sleep-mode'],
      log,
    });
    io.out(startMessage(server));
    return untilSignal(server, (given['shutdown-timeout'] ?? 30) * 1000, io);
  },
};

function startMessage({ engine, description, host, port, modelNames, bootTimeline }: RunningServer): string {
  const { device } = description;
  const { tokens, fullLengthRequests } = description.kvCache;
  const { weights, activations, kvCache } = description.dtypes;
  const { maxModelLen } = engine.limits;
  const shown = host.includes(':') ? `[${host}]` : host;
  return [
    `Device: ${device.kind} (${device.name})`,
    `Dtypes: weights ${weights.join(' and ')}, activations ${activations}, KV cache ${kvCache}`,
    `GPU KV cache size: ${group(tokens)} tokens`,
    `Maximum concurrency for ${group(maxModelLen)} tokens per request: ${fullLengthRequests.toFixed(2)}x`,
    `Started in: ${bootTimeline}`,
    `Serving ${modelNames.join(', ')} on http://${shown}:${port}`,
    '',
  ].join('\n');
}

function group(value: number): string {
  return value.toLocaleString('en-US');
}

/** The first SIGTERM or SIGINT drains and ends with 0; a second one ends at once, with 128 plus its number. */
function untilSignal(server: RunningServer, graceMs: number, io: CommandIo): Promise<number> {
  return new Promise((resolve, reject) => {
    let draining = false;
    const numbers = { SIGINT: 2, SIGTERM: 15 } as const;
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (draining) process.exit(128 + numbers[signal]);
        draining = true;
        io.out(
          `${signal}: finishing requests in progress, at most ${graceMs / 1000} s. A second signal ends at once.\n`,
        );
        server.close(graceMs).then(() => resolve(0), reject);
      });
    }
  });
}
