import { type AsyncLLM, parseEngineConfig } from '@quire/core';
import { type BenchReport, type BenchRow, benchReport } from '../../bench/report.ts';
import { LLM } from '../../node/llm.ts';
import { openDevice } from '../../node/open-device.ts';
import { bringModel } from '../bring-model.ts';
import type { Command, CommandIo } from '../command.ts';
import { deviceFlag, engineFlags, engineOptions } from '../engine-flags.ts';
import { type FlagValues, helpFlag, parseFlags, UsageError } from '../flags.ts';
import { formatTable } from '../help.ts';

const benchFlags = {
  model: {
    type: 'string',
    value: 'MODEL',
    help: 'Of bench offline, positions and serve: a folder or name. Default models/tiny-llama.',
  },
  json: { type: 'boolean', help: 'Print one JSON object.' },
} as const;
const loadFlags = {
  'base-url': { type: 'string', value: 'URL', help: 'A server that runs. Default: one that is started with MODEL.' },
  'served-model-name': {
    type: 'string',
    value: 'NAME',
    help: 'Model to ask for. Default: the one that the server has.',
  },
  'api-key': { type: 'string', value: 'KEY', help: 'Key of that server.', env: 'OPENAI_API_KEY' },
  'num-prompts': { type: 'integer', value: 'N', help: 'Requests to send. Default 100.' },
  'request-rate': {
    type: 'number',
    value: 'R',
    help: 'Requests per second, of Poisson arrivals. Default: all at once.',
  },
  'max-concurrency': { type: 'integer', value: 'N', help: 'Requests in progress at most. Default: no bound.' },
} as const;
const flags = { ...engineFlags, ...benchFlags, ...loadFlags, ...deviceFlag, ...helpFlag } as const;
type Flags = FlagValues<typeof flags>;

export const bench: Command = {
  usage: [
    'bench ops [--device DEVICE] [--json]',
    'bench engine [--json]',
    'bench offline [--model MODEL] [--device DEVICE] [--json]',
    'bench positions [--model MODEL] [--device DEVICE] [--json]',
    'bench serve [--base-url URL | --model MODEL] [flags] [--json]',
  ],
  about:
    "Measures the operations of a device; the engine's own time on a device that computes nothing; offline inference of a " +
    'model: tokens per second alone and 16 at once; the time of a token at each position up to the context limit, and how far ' +
    "it is from a constant and a share in proportion to the position; or a server under load, as vLLM's benchmark_serving does, " +
    'and without a --base-url also the front end alone, over an engine that computes nothing.',
  groups: [
    { title: 'Flags', flags: { ...benchFlags, ...deviceFlag } },
    { title: 'Load, of bench serve', flags: loadFlags },
    { title: 'Engine, of bench offline, positions and serve', flags: engineFlags },
  ],
  async run(argv, io) {
    const { flags: given, positionals } = parseFlags(argv, flags, io.env);
    const [what, ...rest] = positionals;
    if (rest.length > 0 || what === undefined || !Object.hasOwn(subjects, what)) {
      const found = positionals.length === 0 ? 'nothing' : positionals.join(' ');
      throw new UsageError(`bench takes one of ${Object.keys(subjects).join(', ')}, got ${found}.`);
    }
    const report = await subjects[what as keyof typeof subjects](given, io);
    io.out(given.json ? `${JSON.stringify(report)}\n` : asText(report));
    return 0;
  },
};

const subjects = { ops, engine, offline, positions, serve } as const;

async function engine(given: Flags): Promise<BenchReport> {
  const [{ benchEngine }, { benchLink }] = await Promise.all([
    import('../../bench/engine.ts'),
    import('../../bench/engine-link.ts'),
  ]);
  const rows = await benchEngine();
  const link = await benchLink({ model: given.model ?? 'models/tiny-llama' });
  return benchReport('mock (computes nothing)', [...rows, ...link]);
}

async function ops(given: Flags): Promise<BenchReport> {
  const { benchOps } = await import('../../bench/ops.ts');
  const device = await openDevice(given.device);
  try {
    return await benchReport(describeDevice(device.info), await benchOps(device));
  } finally {
    await device.dispose();
  }
}

async function offline(given: Flags, io: CommandIo): Promise<BenchReport> {
  const { benchOffline } = await import('../../bench/offline.ts');
  return onEngine(given, io, benchOffline);
}

async function positions(given: Flags, io: CommandIo): Promise<BenchReport> {
  const { benchPositions } = await import('../../bench/positions.ts');
  return onEngine(given, io, benchPositions);
}

async function onEngine(
  given: Flags,
  io: CommandIo,
  measure: (engine: AsyncLLM) => Promise<BenchRow[]>,
): Promise<BenchReport> {
  const options = { model: given.model ?? 'models/tiny-llama', ...engineOptions(given) };
  const config = parseEngineConfig(options);
  await bringModel(config, options.model, line => io.err(`${line}\n`));
  const device = await openDevice(given.device, config);
  try {
    const llm = new LLM({ ...options, device });
    try {
      const { asyncLLM } = await llm.load();
      return await benchReport(describeDevice(device.info), await measure(asyncLLM));
    } finally {
      await llm.dispose();
    }
  } finally {
    await device.dispose();
  }
}

async function serve(given: Flags, io: CommandIo): Promise<BenchReport> {
  const { benchServe } = await import('../../bench/serve/bench-serve.ts');
  const model = given.model ?? 'models/tiny-llama';
  const engine = { model, ...engineOptions(given), ...(given.device === undefined ? {} : { device: given.device }) };
  const baseUrl = given['base-url'] ?? null;
  if (baseUrl === null) await bringModel(parseEngineConfig({ model }), model, line => io.err(`${line}\n`));
  const { device, rows } = await benchServe({
    engine,
    baseUrl,
    modelName: given['served-model-name'] ?? null,
    apiKey: given['api-key'] ?? null,
    numPrompts: given['num-prompts'] ?? 100,
    requestRate: given['request-rate'] ?? Number.POSITIVE_INFINITY,
    maxConcurrency: given['max-concurrency'] ?? Number.POSITIVE_INFINITY,
  });
  return benchReport(device, rows);
}

function describeDevice({ kind, name }: { kind: string; name: string }): string {
  return `${kind} (${name})`;
}

function asText({ machine, device, rows }: BenchReport): string {
  const share = (row: BenchRow) => (row.share === null ? '' : `${(row.share * 100).toFixed(1)} %`);
  const cells = rows.map(row => [
    row.name,
    String(row.value),
    row.unit,
    row.limit === null ? '' : String(row.limit),
    share(row),
  ]);
  return `${machine}\n${device}\n\n${formatTable(['name', 'value', 'unit', 'limit', 'share'], cells)}`;
}
