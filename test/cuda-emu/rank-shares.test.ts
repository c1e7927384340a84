/**
 * Two ranks that meet over TCP and NCCL's stand-in, both in this process: what each of them holds, and has read itself. And the
 * stand-in alone, with a rank in another process that is killed.
 */
import { spawn } from 'node:child_process';
import { type CudaDevice, openCudaEmuRank } from '@quire/backend-cuda';
import { type EngineConfig, parseEngineConfig } from '@quire/core';
import { DeviceLostError } from '@quire/core/contract';
import { ProgramBuilder } from '@quire/core/program';
import { afterAll, expect, it } from 'vitest';
import { loadWeights } from '../../packages/core/src/models/index.ts';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { cardOf } from '../../packages/server/src/ranks/card.ts';
import { followRank } from '../../packages/server/src/ranks/follow.ts';
import { leadGroup } from '../../packages/server/src/ranks/lead.ts';
import { openModel } from '../e2e/models.ts';
import { root } from '../server/build.ts';
import { openTestReference } from '../support/devices.ts';
import { freePort } from '../support/rank-processes.ts';
import { floatTensor, noSizes } from './fixtures.ts';

const folder = 'models/tiny-llama';
const launcher = { launcher: 'torchrun', size: 2, isOnePerMachine: false };
const sources: { close(): Promise<void> }[] = [];
afterAll(async () => {
  for (const source of sources) await source.close();
});

/** A group of both ranks, their devices, and the end of the one that follows. */
async function open(config: EngineConfig) {
  const leader = { host: '127.0.0.1', port: await freePort() };
  const devices: CudaDevice[] = [];
  const { tensorParallelSize: ranks, pipelineParallelSize: stages } = config;
  const openOwn = (localRank: number) => async () => {
    const own = await openCudaEmuRank({ localRank });
    devices[localRank] = own.device;
    return own;
  };
  const place = (rank: number) => ({ ...launcher, leader, rank, localRank: rank });
  const source = await openFolderSource(folder);
  sources.push(source);
  const card = await cardOf('cuda-emu', config);
  const followed = followRank({ place: place(1), card, config, source, open: openOwn(1), onOpen: () => {} });
  const group = await leadGroup(place(0), { kind: 'cuda-emu', ranks, stages }, config, openOwn(0));
  return { group, devices, followed };
}

it.each([
  { tensorParallelSize: 2, pipelineParallelSize: 1 },
  { tensorParallelSize: 1, pipelineParallelSize: 2 },
])('of $tensorParallelSize in $pipelineParallelSize stages', async sizes => {
  const config = parseEngineConfig({ model: folder, ...sizes });
  const { group, devices, followed } = await open(config);
  expect(group.info).toMatchObject({ ranks: sizes.tensorParallelSize, stages: sizes.pipelineParallelSize });
  const { source, modelConfig, checkpoint } = await openModel(folder);
  const loaded = await loadWeights(group, modelConfig, { checkpoint });
  const reference = await openTestReference();
  const whole = await loadWeights(reference, modelConfig, { checkpoint });
  await source.close();
  const held = devices.map(device => device.allocatedBytes());
  if (sizes.tensorParallelSize === 2) {
    const replicated = Object.entries(whole.tensors)
      .filter(([name, { bytes }]) => loaded.tensors[name]!.bytes === bytes)
      .reduce((sum, [, { bytes }]) => sum + bytes, 0);
    expect(replicated).toBeLessThan(whole.bytes / 10);
    expect(held).toEqual(new Array(2).fill(replicated + (whole.bytes - replicated) / 2));
  } else {
    const ofStage = (stage: number) =>
      Object.values(loaded.tensors).reduce((sum, { spec, bytes }) => sum + (spec.stage === stage ? bytes : 0), 0);
    expect(held[0]! + held[1]!).toBeGreaterThanOrEqual(whole.bytes);
    expect(held[0]).toBeGreaterThanOrEqual(ofStage(0));
    expect(held[1]).toBeGreaterThanOrEqual(ofStage(1));
    for (const bytes of held) expect(bytes).toBeLessThan(0.7 * whole.bytes);
  }
  expect(group.allocatedBytes()).toBe(held[0]! + held[1]!);
  loaded.dispose();
  whole.dispose();
  await group.dispose();
  expect(await followed).toEqual({ error: null, isStuck: false });
});

const alone = { rank: 0, size: 1, id: new Uint8Array() };

it('a rank that is killed is a fault that names it, also where nobody else watches', async () => {
  const { device, groupId } = await openCudaEmuRank({ localRank: 0 });
  const id = groupId(2);
  const script = `
    import { openCudaEmuRank } from './packages/backend-cuda/dist/index.js';
    const { device } = await openCudaEmuRank({ localRank: 1 });
    const alone = { rank: 0, size: 1, id: new Uint8Array() };
    await device.joinGroup({ rank: 1, size: 2, id: Uint8Array.from(${JSON.stringify([...id])}) }, alone, false);
    setInterval(() => {}, 1000);
  `;
  const other = spawn('node', ['--input-type=module', '-e', script], { cwd: root, stdio: 'inherit' });
  await device.joinGroup({ rank: 0, size: 2, id }, alone, false);
  other.kill('SIGKILL');
  const builder = new ProgramBuilder('sum', noSizes);
  builder.external('x', 'f32', [1, 4]);
  builder.add({ op: 'allReduce', x: 'x', out: 'x' });
  const x = floatTensor(device, 'x', [1, 2, 3, 4]);
  const executable = await device.compile(builder.build(), { x });
  const since = Date.now();
  device.submit([{ executable, sizes: noSizes }]);
  const error = await device.synchronize().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(DeviceLostError);
  expect((error as Error).message).toContain('allReduce failed: cudaErrorLaunchFailure (rank 1 of the group is gone)');
  expect(Date.now() - since).toBeLessThan(60_000);
  await device.dispose();
});
