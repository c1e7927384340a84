import { type ChildProcess, execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { build, root } from './build.ts';
import { InspectorClient, startPaused } from './inspector-client.ts';

const run = promisify(execFile);
const example = 'examples/dist/offline_inference.js';
const prompts = [
  'Hello, my name is',
  'The president of the United States is',
  'The capital of France is',
  'The future of AI is',
];

// The example runs as its reader runs it: compiled.
beforeAll(build);

it('the classic example prints each prompt with its text', async () => {
  const { stdout } = await run(process.execPath, [example], { cwd: root });
  const lines = stdout.trimEnd().split('\n');
  expect(lines.length).toBe(4);
  lines.forEach((line, i) => {
    expect(line.startsWith(`Prompt: ${JSON.stringify(prompts[i])}, Generated text: "`)).toBe(true);
    const text = JSON.parse(line.slice(line.indexOf('Generated text: ') + 'Generated text: '.length)) as string;
    expect(text.length).toBeGreaterThan(0);
  });
});

interface LaunchConfiguration {
  name: string;
  program: string;
  outFiles: string[];
  sourceMaps: boolean;
}

describe('the launch configuration', () => {
  const children: ChildProcess[] = [];
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL');
  });
  const launch = JSON.parse(readFileSync(`${root}.vscode/launch.json`, 'utf8')) as {
    configurations: LaunchConfiguration[];
  };
  const source = 'packages/core/src/engine/scheduler.ts';
  const compiled = `${root}packages/core/dist/engine/scheduler.js`;

  it('debugs the example with source maps over the compiled packages', () => {
    const [configuration] = launch.configurations;
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of VS Code.
    const folder = '${workspaceFolder}';
    expect(configuration).toMatchObject({ program: `${folder}/examples/offline_inference.ts`, sourceMaps: true });
    expect(configuration!.outFiles).toContain(`${folder}/packages/*/dist/**/*.js`);
  });

  it('stops at a breakpoint that is set in the TypeScript of the engine', async () => {
    const lines = readFileSync(root + source, 'utf8').split('\n');
    const line = lines.findIndex(text => /^ {2}schedule\(/.test(text)) + 1;
    expect(line).toBeGreaterThan(0);
    const map = new SourceMap(JSON.parse(readFileSync(`${compiled}.map`, 'utf8')));
    const generated = generatedLine(map, line);

    const { child, address, ended } = await startPaused([example], root);
    children.push(child);
    const inspector = await InspectorClient.connect(address);
    const scripts = new Map<string, Record<string, unknown>>();
    inspector.on('Debugger.scriptParsed', script => scripts.set(script.scriptId as string, script));
    await inspector.call('Debugger.enable');
    const url = pathToFileURL(compiled).href;
    await inspector.call('Debugger.setBreakpointByUrl', { url, lineNumber: generated });
    const started = inspector.once('Debugger.paused');
    await inspector.call('Runtime.runIfWaitingForDebugger');
    await Promise.race([started, ended]);
    const hit = inspector.once('Debugger.paused');
    await inspector.call('Debugger.resume');
    const { callFrames, hitBreakpoints } = (await Promise.race([hit, ended])) as {
      hitBreakpoints: string[];
      callFrames: { functionName: string; location: { scriptId: string; lineNumber: number; columnNumber: number } }[];
    };
    expect(hitBreakpoints.length).toBe(1);
    const [frame] = callFrames;
    expect(frame!.functionName).toBe('schedule');
    expect(scripts.get(frame!.location.scriptId)).toMatchObject({ url, sourceMapURL: 'scheduler.js.map' });
    const entry = map.findEntry(frame!.location.lineNumber, frame!.location.columnNumber) as {
      originalSource: string;
      originalLine: number;
    };
    expect(new URL(entry.originalSource, url).href).toBe(pathToFileURL(root + source).href);
    expect(entry.originalLine).toBe(line);
    inspector.close();
  });
});

/** The first line of the compiled file that was made of this line (both count from 0). */
function generatedLine(map: SourceMap, originalLine: number): number {
  for (let line = 0; line < 10_000; line++) {
    for (let column = 0; column < 120; column += 2) {
      const entry = map.findEntry(line, column);
      if ('originalLine' in entry && entry.originalLine === originalLine && entry.generatedLine === line) return line;
    }
  }
  throw new Error(`no code was made of line ${originalLine + 1}`);
}
