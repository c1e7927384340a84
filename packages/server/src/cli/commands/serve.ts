import { parseEngineConfig } from '@quire/core';
import { pino } from 'pino';
import { DASHBOARD_PATH } from '../../dashboard/step-feed.ts';
import { placeOfProcess } from '../../ranks/launch.ts';
import { type RunningServer, startServer } from '../../serve/start-server.ts';
import { bringModel } from '../bring-model.ts';
import type { Command, CommandIo } from '../command.ts';
import { deviceFlag, engineFlags, engineOptions } from '../engine-flags.ts';
import { helpFlag, parseFlags, UsageError } from '../flags.ts';
import { followIfRank } from '../follow-if-rank.ts';
import { accessFlags, addressFlags, featureFlags, LOG_LEVELS, runFlags, serverOptions } from '../server-flags.ts';

const serverFlags = { ...addressFlags, ...accessFlags, ...featureFlags, ...runFlags } as const;
const flags = { ...serverFlags, ...deviceFlag, ...engineFlags, ...helpFlag } as const;

/** For clients to hear why their requests ended. */
const LAST_WORDS_MS = 1000;

export const serve: Command = {
  usage: ['serve MODEL [flags]'],
  about:
    'Serves a model over an OpenAI-compatible HTTP API. MODEL is a folder, or a name such as org/name on Hugging Face, which is downloaded into the cache when it is not there.',
  groups: [
    { title: 'Address', flags: addressFlags },
    { title: 'Access', flags: accessFlags },
    { title: 'Features', flags: featureFlags },
    { title: 'Running', flags: runFlags },
    { title: 'Engine', flags: { ...deviceFlag, ...engineFlags } },
  ],
  async run(argv, io) {
    const { flags: given, positionals } = parseFlags(argv, flags, io.env);
    const [model, ...more] = positionals;
    // vLLM's flag takes all adapters that follow it.
    const modules = given['lora-modules'];
    const adapters = modules === undefined ? [] : more.filter(text => text.includes('='));
    if (model === undefined || more.length > adapters.length) {
      throw new UsageError(
        `serve takes one MODEL, a folder or a name, got ${positionals.length}: quire serve models/tiny-llama`,
      );
    }
    const level = given['log-level'] ?? 'info';
    if (!LOG_LEVELS.includes(level))
      throw new UsageError(`--log-level must be one of ${LOG_LEVELS.join(', ')}, got "${level}".`);
    const access = serverOptions(
      adapters.length === 0 ? given : { ...given, 'lora-modules': [...modules!, ...adapters] },
      io.env,
    );
    const log = pino({ level }, pino.destination(2));
    const options = { model, ...engineOptions(given) };
    const config = parseEngineConfig(options);
    const followed = await followIfRank(given.device ?? 'auto', config, io, line => log.info(line));
    if (followed !== null) return followed;
    await bringModel(config, model, line => log.info(line));
    const server = await startServer({
      ...options,
      ...(given.device === undefined ? {} : { device: given.device }),
      ...access,
      engineProcess: true,
      log,
    });
    io.out(startMessage(server, access.ui === true));
    const signal = untilSignal(server, (given['shutdown-timeout'] ?? 30) * 1000, io);
    return placeOfProcess(config, io.env) === null ? signal : Promise.race([signal, untilGivenUp(server, io)]);
  },
};

function startMessage(server: RunningServer, ui: boolean): string {
  const { engine, description, url, modelNames, bootTimeline } = server;
  const { device } = description;
  const { tokens, fullLengthRequests } = description.kvCache;
  const { weights, activations, kvCache } = description.dtypes;
  const { maxModelLen } = engine.limits;
  return [
    `Device: ${device.kind} (${device.name})`,
    `Dtypes: weights ${weights.join(' and ')}, activations ${activations}, KV cache ${kvCache}`,
    `GPU KV cache size: ${group(tokens)} tokens`,
    `Maximum concurrency for ${group(maxModelLen)} tokens per request: ${fullLengthRequests.toFixed(2)}x`,
    ...description.notices.map(notice => `Note: ${notice}`),
    `Started in: ${bootTimeline}`,
    ...(ui ? [`Watch it on ${url}${DASHBOARD_PATH}`] : []),
    `Serving ${modelNames.join(', ')} on ${url}`,
    '',
  ].join('\n');
}

function group(value: number): string {
  return value.toLocaleString('en-US');
}

/** A server whose ranks are gone leaves, so that whoever started them can start all again. */
async function untilGivenUp(server: RunningServer, io: CommandIo): Promise<number> {
  const reason = await server.givenUp;
  io.err(`quire: ${reason.message}\n`);
  await server.close(LAST_WORDS_MS);
  return 1;
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
