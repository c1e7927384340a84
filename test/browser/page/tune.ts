/** Compiles a layer that is worth timing, on the page's adapter under the name of a GPU, and tells what the browser then keeps. */
import { openWebGpuDevice } from '@quire/backend-webgpu';
import { noSizes, ProgramBuilder } from '@quire/core/program';
import type { Answer, Task } from './messages.ts';

const [COLUMNS, DEPTH] = [1024, 1024];

export async function tune({ change }: Extract<Task, { kind: 'tune' }>): Promise<Answer> {
  const cache = await caches.open('quire-choices');
  if (change !== null) {
    for (const request of await cache.keys()) {
      const text = await (await cache.match(request))!.text();
      await cache.put(request, new Response(text.replaceAll(change.from, change.to)));
    }
  }
  const variants = await runLayer();
  const kept = await Promise.all((await cache.keys()).map(async key => (await cache.match(key))!.json()));
  return { kind: 'tuned', kept, variants };
}

/** Names of the kernels that ran. */
async function runLayer(): Promise<string[]> {
  const device = await openWebGpuDevice(await asGpu());
  const builder = new ProgramBuilder('large', { ...noSizes, tokens: 1 });
  const shapes = { x: [1, DEPTH], weight: [COLUMNS, DEPTH], out: [1, COLUMNS] };
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    builder.external(name, 'f32', name === 'weight' ? shape : ['tokens', shape[1]!]);
    return [name, device.createTensor({ name, dtype: 'f32', shape, usage: 'weight' })] as const;
  });
  builder.add({ op: 'linear', x: 'x', weight: 'weight', out: 'out', activation: 'none', outColumn: 0 });
  const executable = await device.compile(builder.build(), Object.fromEntries(tensors));
  device.submit([{ executable, sizes: { ...noSizes, tokens: 1 } }]);
  await device.synchronize();
  const variants = device.dispatchedVariants();
  await device.dispose();
  return variants;
}

/** On adapters that tell that they are software there is no choice. */
async function asGpu(): Promise<GPU> {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const { vendor, subgroupMinSize, subgroupMaxSize } = adapter.info;
  const info = { vendor, architecture: '', device: '', description: 'a GPU', subgroupMinSize, subgroupMaxSize };
  const { features, limits } = adapter;
  const renamed = { features, limits, info, requestDevice: adapter.requestDevice.bind(adapter) };
  return { requestAdapter: async () => renamed } as unknown as GPU;
}
