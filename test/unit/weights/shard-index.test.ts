import { MemorySource, openCheckpoint } from '@quire/core/weights';
import { describe, expect, it } from 'vitest';
import { stateDict, tensor, torchArchive } from '../../faults/writers/pickle.ts';
import { entry, safetensors } from '../../faults/writers/safetensors.ts';

const a = safetensors({ a: entry([1], [0, 4]) }, 4);
const b = safetensors({ b: entry([2], [0, 8]) }, 8);
const bin = torchArchive(stateDict({ other: tensor() }));

function index(weightMap: Record<string, string>, metadata: unknown = {}): Uint8Array {
  return Buffer.from(JSON.stringify({ metadata, weight_map: weightMap }));
}

function open(files: Record<string, Uint8Array>) {
  return openCheckpoint(new MemorySource(new Map(Object.entries(files))));
}

describe('openCheckpoint', () => {
  it('joins the shards of an index', async () => {
    const files = {
      'model.safetensors.index.json': index({ b: 'two.safetensors', a: 'one.safetensors' }, { total_size: 12 }),
    };
    const checkpoint = await open({ ...files, 'one.safetensors': a, 'two.safetensors': b });
    expect([...checkpoint.tensors].map(([name, { file }]) => [name, file]).sort()).toEqual([
      ['a', 'one.safetensors'],
      ['b', 'two.safetensors'],
    ]);
    expect(checkpoint.notices).toEqual([]);
  });

  it('notices a wrong total size and does not mind', async () => {
    const checkpoint = await open({
      'model.safetensors.index.json': index({ a: 'one.safetensors' }, { total_size: 99 }),
      'one.safetensors': a,
    });
    expect(checkpoint.notices).toEqual([
      'model.safetensors.index.json: metadata.total_size is 99, the tensors have 4 bytes.',
    ]);
  });

  it('ignores other members of the index and of its metadata', async () => {
    const text =
      '{"version":[1,{"weight_map":{"x":1}}],"metadata":{"total_size":4.0,"by":{"total_size":7}},"weight_map":{"a":"one.safetensors"}}';
    const checkpoint = await open({ 'model.safetensors.index.json': Buffer.from(text), 'one.safetensors': a });
    expect([...checkpoint.tensors.keys()]).toEqual(['a']);
    expect(checkpoint.notices).toEqual([]);
  });

  it('prefers an index to a single file, and safetensors to pytorch_model.bin', async () => {
    const names = async (files: Record<string, Uint8Array>) => [...(await open(files)).tensors.keys()];
    const single = { 'model.safetensors': b };
    const sharded = { 'model.safetensors.index.json': index({ a: 'one.safetensors' }), 'one.safetensors': a };
    const torch = { 'pytorch_model.bin': bin };
    expect(await names({ ...single, ...sharded, ...torch })).toEqual(['a']);
    expect(await names({ ...single, ...torch })).toEqual(['b']);
    expect(await names(torch)).toEqual(['other']);
    const torchSharded = {
      'pytorch_model.bin.index.json': index({ other: 'x.bin' }),
      'x.bin': bin,
      'pytorch_model.bin': a,
    };
    expect(await names(torchSharded)).toEqual(['other']);
  });
});
