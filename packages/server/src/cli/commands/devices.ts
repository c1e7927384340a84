import { probeDevices } from '../../node/open-device.ts';
import type { Command } from '../command.ts';
import { helpFlag, parseFlags } from '../flags.ts';
import { formatTable } from '../help.ts';

const flags = { json: { type: 'boolean', help: 'Print one JSON array.' }, ...helpFlag } as const;

export const devices: Command = {
  usage: ['devices [--json]'],
  about: 'Lists every kind of device: usable on this machine, or why not.',
  groups: [{ title: 'Flags', flags }],
  async run(argv, io) {
    const { flags: given } = parseFlags(argv, flags, io.env);
    const statuses = await probeDevices();
    if (given.json) {
      io.out(`${JSON.stringify(statuses)}\n`);
      return 0;
    }
    const rows = statuses.map(({ kind, usable, name, software, reason }) => [
      kind,
      usable ? 'yes' : 'no',
      usable ? `${name}${software ? ' (software)' : ''}` : (reason ?? ''),
    ]);
    io.out(formatTable(['device', 'usable', 'what'], rows));
    return 0;
  },
};
