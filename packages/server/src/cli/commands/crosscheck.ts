import { parseEngineConfig, suggestion } from '@quire/core';
import type { Device, OpName } from '@quire/core/contract';
import { opNames } from '@quire/core/program';
import { openDevice } from '../../node/open-device.ts';
import { bringModel } from '../bring-model.ts';
import type { Command, CommandIo } from '../command.ts';
import { type FlagValues, helpFlag, parseFlags, UsageError } from '../flags.ts';

const flags = {
  devices: {
    type: 'names',
    value: 'A,B',
    help: 'Devices to compare; reference is the oracle of all. Default reference,webgpu.',
  },
  op: { type: 'names', value: 'OP,OP', help: 'Only these operations.' },
  case: { type: 'integer', value: 'N', help: 'Only this case of the operation.' },
  prompt: { type: 'string', value: 'TEXT', help: 'With a MODEL: the prompt to run.' },
  dtype: {
    type: 'string',
    value: 'DTYPE',
    help: 'With a MODEL: dtype of weights and activations, as of serve. Default auto.',
  },
  json: { type: 'boolean', help: 'Print one JSON object.' },
  ...helpFlag,
} as const;
type Flags = FlagValues<typeof flags>;

export const crosscheck: Command = {
  usage: [
    'crosscheck [--devices reference,webgpu] [--op OP] [--case N] [--json]',
    'crosscheck MODEL [--devices reference,webgpu] [--prompt TEXT] [--dtype DTYPE] [--json]',
  ],
  about:
    'Runs every operation on every device and compares with the reference device, within the tolerance of each case. With a MODEL, runs a prompt and names the first operation and tensor out of tolerance. Exit code 1 when anything failed.',
  groups: [{ title: 'Flags', flags }],
  async run(argv, io) {
    const { flags: given, positionals } = parseFlags(argv, flags, io.env);
    const [model, ...rest] = positionals;
    if (rest.length > 0) throw new UsageError(`crosscheck takes one MODEL, got ${positionals.length}.`);
    const kinds = (given.devices ?? ['reference', 'webgpu']).filter(kind => kind !== 'reference');
    if (kinds.length === 0) {
      throw new UsageError('--devices must name a device besides reference: nothing is compared with itself.');
    }
    const devices: { name: string; device: Device }[] = [];
    try {
      for (const kind of kinds) devices.push({ name: kind, device: await openDevice(kind) });
      return model === undefined ? await checkOps(devices, given, io) : await checkModel(model, devices, given, io);
    } finally {
      for (const { device } of devices) await device.dispose();
    }
  },
};

type NamedDevices = readonly { name: string; device: Device }[];

async function checkOps(devices: NamedDevices, given: Flags, io: CommandIo): Promise<number> {
  const { formatTable, runCrosscheck } = await import('@quire/conformance');
  const ops = given.op?.map(toOpName);
  const oracle = await openDevice('reference');
  try {
    const report = await runCrosscheck({
      devices,
      oracle,
      ...(ops === undefined ? {} : { ops }),
      ...(given.case === undefined ? {} : { cases: [given.case] }),
    });
    if (report.ops.length === 0) throw new UsageError('No case was selected: check --op and --case.');
    io.out(given.json ? `${JSON.stringify(report)}\n` : `${formatTable(report)}\n`);
    return report.failed > 0 ? 1 : 0;
  } finally {
    await oracle.dispose();
  }
}

function toOpName(name: string): OpName {
  const op = opNames.find(known => known === name);
  if (op === undefined) throw new UsageError(`There is no operation "${name}".${suggestion(name, opNames)}`);
  return op;
}

async function checkModel(model: string, devices: NamedDevices, given: Flags, io: CommandIo): Promise<number> {
  if (given.op !== undefined || given.case !== undefined) {
    throw new UsageError('--op and --case choose cases of operations; they do not go with a MODEL.');
  }
  const { crosscheckModelFolder } = await import('../../node/crosscheck-model.ts');
  const prompt = given.prompt ?? 'Once upon a time, there was a hungry dog named Max.';
  const config = parseEngineConfig({ model, dtype: given.dtype });
  await bringModel(config, model, line => io.err(`${line}\n`));
  const reports = [];
  for (const { name, device } of devices) {
    reports.push({ device: name, ...(await crosscheckModelFolder(model, { name, device }, prompt, config.dtype)) });
  }
  if (given.json) io.out(`${JSON.stringify({ model, devices: reports })}\n`);
  else for (const report of reports) io.out(describe(report));
  return reports.some(({ first }) => first !== null) ? 1 : 0;
}

type ModelReport = Awaited<ReturnType<typeof import('../../node/crosscheck-model.ts').crosscheckModelFolder>>;

function describe({ device, tensors, worst, first }: ModelReport & { device: string }): string {
  const head = `${device}: ${tensors} tensors compared with reference, worst error ${worst.toFixed(3)} of its tolerance`;
  if (first === null) return `${head}\n`;
  return `${head}\n  first out of tolerance: op ${first.opIndex} (${first.op}), tensor ${first.tensor}\n`;
}
