import { ConfigError, QuireError, suggestion, toSnakeCase } from '@quire/core';
import { version } from '../version.ts';
import type { Command, CommandIo } from './command.ts';
import { UsageError } from './flags.ts';
import { commandHelp, twoColumns } from './help.ts';

/** Commands are loaded when they run: `quire --help` needs no engine. */
const commands: Readonly<Record<string, { summary: string; load(): Promise<Command> }>> = {
  serve: {
    summary: 'Serve a model over an OpenAI-compatible API.',
    load: async () => (await import('./commands/serve.ts')).serve,
  },
  generate: {
    summary: 'Complete prompts offline.',
    load: async () => (await import('./commands/generate.ts')).generate,
  },
  'run-batch': {
    summary: "Answer a file of requests in the format of OpenAI's Batch API.",
    load: async () => (await import('./commands/run-batch.ts')).runBatchCommand,
  },
  crosscheck: {
    summary: 'Compare every operation between the devices of this machine.',
    load: async () => (await import('./commands/crosscheck.ts')).crosscheck,
  },
  bench: {
    summary: 'Measure operations or offline inference.',
    load: async () => (await import('./commands/bench.ts')).bench,
  },
  devices: {
    summary: 'List the devices of this machine.',
    load: async () => (await import('./commands/devices.ts')).devices,
  },
};

/** Runs `quire ARGV...`. Resolves with the exit code: 0 done, 1 failed, 2 wrong command line. */
export async function runCli(argv: readonly string[], io: CommandIo): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    (name === undefined ? io.err : io.out)(overview());
    return name === undefined ? 2 : 0;
  }
  if (name === '--version') {
    io.out(`${version}\n`);
    return 0;
  }
  try {
    if (!Object.hasOwn(commands, name))
      throw new UsageError(`There is no command "${name}".${suggestion(name, Object.keys(commands))}`);
    const command = await commands[name]!.load();
    if (rest.includes('--help') || rest.includes('-h')) {
      io.out(commandHelp(command.usage, command.about, command.groups));
      return 0;
    }
    return await command.run(rest, io);
  } catch (error) {
    return report(error, name, io);
  }
}

function overview(): string {
  const lines = [
    'Quire: LLM inference and serving in TypeScript.',
    '',
    'Usage:',
    '  quire COMMAND [flags]',
    '',
    'Commands:',
  ];
  for (const [name, { summary }] of Object.entries(commands)) lines.push(...twoColumns(`  ${name}`, summary));
  return `${[...lines, '', 'quire COMMAND --help tells more.'].join('\n')}\n`;
}

/** Errors made for callers are shown as they are; anything else is a defect, shown with its stack. */
function report(error: unknown, command: string, io: CommandIo): number {
  if (error instanceof UsageError) {
    const help = Object.hasOwn(commands, command) ? `quire ${command} --help` : 'quire --help';
    io.err(`quire: ${error.message}\nTry: ${help}\n`);
    return 2;
  }
  if (error instanceof ConfigError) {
    io.err(`quire: ${withFlagName(error)}\n`);
    return 2;
  }
  if (error instanceof QuireError) io.err(`quire: ${error.message}\n`);
  else io.err(`quire: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return 1;
}

/** Core names options in camelCase, the command line in kebab-case. A name that is a plain word is replaced at the start only. */
function withFlagName({ option, message }: ConfigError): string {
  if (option === null || !/^[a-zA-Z]+$/.test(option)) return message;
  const flag = `--${toSnakeCase(option).replaceAll('_', '-')}`;
  return message.replace(/[A-Z]/.test(option) ? new RegExp(`\\b${option}\\b`, 'g') : new RegExp(`^${option}\\b`), flag);
}
