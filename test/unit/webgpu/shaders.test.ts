import { readFileSync } from 'node:fs';
import { composeShader, shaderVariants, variantEnables, variantName } from '@quire/backend-webgpu';
import { dawn } from '@quire/backend-webgpu/node';
import type { OpName } from '@quire/core/contract';
import { opNames, opStem } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { generate, outputFile } from '../../../packages/backend-webgpu/scripts/generate-shaders.mjs';

const variants = shaderVariants();
/** WebGPU says of these that they are unsupported. */
const collectiveOps: readonly OpName[] = ['vocabParallelEmbed', 'allReduce', 'allGather', 'send', 'recv', 'broadcast'];

/** Dawn's null backend compiles everything and computes nothing. */
async function compilerDevice(): Promise<GPUDevice> {
  const adapter = await (await dawn(['backend=null'])).requestAdapter();
  return adapter!.requestDevice({ requiredFeatures: ['subgroups', 'shader-f16'] });
}

describe('shaders', () => {
  it('are as the generator makes them now', () => {
    expect(readFileSync(outputFile, 'utf8')).toBe(generate());
  });

  it('have a file or a folder per op', () => {
    const stems = new Set(variants.map(({ shader }) => shader.split('/')[0]!));
    stems.delete('device');
    expect([...stems].sort()).toEqual(
      opNames
        .filter(op => !collectiveOps.includes(op))
        .map(opStem)
        .sort(),
    );
  });

  it('compile in every variant', async () => {
    const device = await compilerDevice();
    const failures: string[] = [];
    for (const variant of variants) {
      device.pushErrorScope('validation');
      const module = device.createShaderModule({ code: composeShader(variant) });
      device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
      const error = await device.popErrorScope();
      if (error !== null) failures.push(`${variantName(variant)}: ${error.message}`);
    }
    device.destroy();
    expect(failures).toEqual([]);
  });

  it('say which extensions a variant needs', () => {
    const enables = new Map(variants.map(variant => [variantName(variant), variantEnables(variant)]));
    expect(enables.get('add')).toEqual([]);
    expect(enables.get('paged_attention/whole[lanes_subgroup,kv_native_f16]')).toEqual(['subgroups', 'f16']);
  });
});
