import { ConfigError, suggestion } from '@quire/core';
import type { Device, OpName } from '@quire/core/contract';
import { opNames } from '@quire/core/program';
import { openDevice } from '../../node/open-device.ts';
import type { Command, CommandIo } from '../command.ts';
import { type FlagValues, helpFlag, parseFlags, UsageError } from '../flags.ts';

const flags = {
  devices: {
    type: 'names',
    value: 'A,B',
    help: 'Devices to compare; reference is the oracle. Default reference,webgpu.',
  },
  op: { type: 'names', value: 'OP', help: 'Only these operations.' },
  case: { type: 'integer', value: 'N', help: 'Only this case of the operation.' },
  prompt: { type: 'string', value: 'TEXT', help: 'With a MODEL: the prompt to run.' },
  json: { type: 'boolean', help: 'Print one JSON object.' },
  ...helpFlag,
} as const;
type Flags = FlagValues<typeof flags>;

export const crosscheck: Command = {
  usage: [
    'crosscheck [--devices reference,webgpu] [--op OP] [--case N] [--json]',
    'crosscheck MODEL [--devices reference,webgpu] [--prompt TEXT]',
  ],
  about:
    'Runs every operation on every device and compares with the reference device, within the tolerance of each case. With a MODEL, runs a prompt and names the first operation and tensor out of tolerance. Exit code 1 when anything failed.',
  groups: [{ title: 'Flags', flags }],
  async run(argv, io) {
    const { flags: given, positionals } = parseFlags(argv, flags, io.env);
    if (positionals.length > 1) throw new UsageError(`crosscheck takes one MODEL, got ${positionals.length}.`);
    const names = (given.devices ?? ['reference', 'webgpu']).filter(name => name !== 'reference');
    if (names.length === 0)
      throw new UsageError('--devices must name a device besides reference: nothing is compared with itself.');
    const opened: Device[] = [];
    const open = async (kind: string) => {
      const device = await openDevice(kind);
      opened.push(device);
      return { name: kind, device };
    };
    try {
      const oracle = await open('reference');
      const devices = await Promise.all(names.map(open));
      const [model] = positionals;
      if (model !== undefined) return await checkModel(model, [oracle, ...devices], given, io);
      return await checkOps(devices, oracle.device, given, io);
    } finally {
      for (const device of opened) await device.dispose();
    }
  },
};

interface NamedDevice {
  name: string;
  device: Device;
}

async function checkOps(devices: NamedDevice[], oracle: Device, given: Flags, io: CommandIo): Promise<number> {
  const { formatTable, runCrosscheck } = await import('@quire/conformance');
  const ops = given.op?.map(toOpName);
  const report = await runCrosscheck({
    devices,
    oracle,
    ...(ops === undefined ? {} : { ops }),
    ...(given.case === undefined ? {} : { cases: [given.case] }),
  });
  if (report.cases === 0) throw new ConfigError('No case was selected: check --op and --case.');
  io.out(given.json ? `${JSON.stringify(report)}\n` : `${formatTable(report)}\n`);
  return report.failed > 0 ? 1 : 0;
}

function toOpName(name: string): OpName {
  const op = opNames.find(known => known === name);
  if (op === undefined) throw new UsageError(`There is no operation "${name}".${suggestion(name, opNames)}`);
  return op;
}

async function checkModel(model: string, devices: NamedDevice[], given: Flags, io: CommandIo): Promise<number> {
  throw new UsageError(`not yet ${model} ${devices.length} ${given.json} ${io.env.X}`);
}
