#!/usr/bin/env node
import { runCli } from './run-cli.ts';

// A reader that goes away (`quire ... | head`) must not kill the process with an unhandled error.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  out: text => void process.stdout.write(text),
  err: text => void process.stderr.write(text),
});
