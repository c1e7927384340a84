/** The engine and the WebGPU device in a worker of the page: as a library user would put them there. */
import { openWebGpuDevice } from '@quire/backend-webgpu';
import { runCrosscheck } from '@quire/conformance';
import { loadEngine, MemorySource, parseEngineConfig } from '@quire/core';
import type { OpName } from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';
import type { Answer, Task } from './messages.ts';
import { tune } from './tune.ts';

addEventListener('message', async ({ data }: MessageEvent<Task>) => {
  try {
    postMessage(await answer(data));
  } catch (error) {
    postMessage({ kind: 'failed', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
});

function answer(task: Task): Promise<Answer> {
  switch (task.kind) {
    case 'generate':
      return generate(task);
    case 'crosscheck':
      return crosscheck(task);
    case 'tune':
      return tune(task);
  }
}

async function generate({ folder, files, prompt }: Extract<Task, { kind: 'generate' }>): Promise<Answer> {
  const source = new MemorySource(new Map(await Promise.all(files.map(file => fetchFile(folder, file)))), folder);
  const device = await openWebGpuDevice(navigator.gpu);
  const { asyncLLM } = await loadEngine({ source, device, config: parseEngineConfig({ model: folder }) });
  let answer: Answer = { kind: 'failed', message: 'the engine yielded no output' };
  for await (const { outputs } of asyncLLM.generate(prompt, { temperature: 0, maxTokens: 40 })) {
    const { tokenIds, text } = outputs[0]!;
    answer = { kind: 'generated', tokenIds, text, adapter: device.info.name };
  }
  await asyncLLM.dispose();
  await device.dispose();
  return answer;
}

async function fetchFile(folder: string, file: string): Promise<[string, Uint8Array]> {
  const response = await fetch(`/${folder}/${file}`);
  if (!response.ok) throw new Error(`${folder}/${file}: the server answered ${response.status}`);
  return [file, new Uint8Array(await response.arrayBuffer())];
}

async function crosscheck({ ops }: Extract<Task, { kind: 'crosscheck' }>): Promise<Answer> {
  const [oracle, device] = [await openReferenceDevice(), await openWebGpuDevice(navigator.gpu)];
  const failures: string[] = [];
  const report = await runCrosscheck({
    devices: [{ name: 'webgpu', device }],
    oracle,
    ops: ops as OpName[],
    quick: true,
    onCase: ({ status, name, message }) => {
      if (status === 'failed') failures.push(`${name}: ${message}`);
    },
  });
  await device.dispose();
  await oracle.dispose();
  return { kind: 'crosschecked', cases: report.cases, failures };
}
