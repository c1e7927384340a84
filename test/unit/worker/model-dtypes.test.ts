import type { Device, DeviceInfo, DType, DTypeTable } from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';
import { beforeAll, describe, expect, it } from 'vitest';
import { dtypes as cudaTable } from '../../../packages/backend-cuda/src/dtypes.ts';
import { dtypes as webgpuTable } from '../../../packages/backend-webgpu/src/dtypes.ts';
import { chooseDTypes } from '../../../packages/core/src/worker/index.ts';
import { llamaConfig, optConfig } from '../models/configs.ts';

const floats = ['f32', 'f16', 'bf16'] as const;
const auto = { dtype: 'auto', kvCacheDtype: 'auto' } as const;

let info: DeviceInfo;
beforeAll(async () => {
  info = (await openReferenceDevice()).info;
});

function device(dtypes: DTypeTable, software: boolean): Device {
  return { info: { ...info, name: 'Test', dtypes, capabilities: { ...info.capabilities, software } } } as Device;
}

const all = (dtype: DType) => ({ weights: dtype, activations: dtype, kvCache: dtype });

describe.each([llamaConfig(), optConfig()])('chooseDTypes for $architecture', model => {
  it('computes in the dtype of the checkpoint on a GPU that offers it', () => {
    const gpu = device(cudaTable, false);
    expect(chooseDTypes(auto, { ...model, dtype: 'bf16' }, gpu)).toEqual(all('bf16'));
    expect(chooseDTypes(auto, { ...model, dtype: 'f16' }, gpu)).toEqual(all('f16'));
    expect(chooseDTypes(auto, { ...model, dtype: 'f32' }, gpu)).toEqual({ ...all('f32'), weights: 'auto' });
  });

  it('computes in f32 in software, unless a dtype is asked for', () => {
    const emulator = device(cudaTable, true);
    for (const dtype of floats) {
      expect(chooseDTypes(auto, { ...model, dtype }, emulator)).toEqual({ ...all('f32'), weights: 'auto' });
      expect(chooseDTypes({ ...auto, dtype }, model, emulator)).toEqual(all(dtype));
    }
  });

  it('stores weights in the dtype that is asked for and computes in f32 where the device does no more', () => {
    const software = device(webgpuTable, true);
    expect(chooseDTypes({ ...auto, dtype: 'f16' }, model, software)).toEqual({ ...all('f32'), weights: 'f16' });
    const gpu = device(webgpuTable, false);
    expect(chooseDTypes({ ...auto, dtype: 'f16' }, model, gpu)).toEqual({ ...all('f16'), activations: 'f32' });
    const kvCache = 'f16';
    expect(chooseDTypes(auto, { ...model, dtype: 'bf16' }, gpu)).toEqual({ ...all('f32'), weights: 'auto', kvCache });
    expect(chooseDTypes({ ...auto, dtype: 'f32' }, model, gpu)).toEqual(all('f32'));
  });

  it('computes in f32 where one op of the model is not offered', () => {
    for (const op of ['linear', 'gatherRows', model.rope === null ? 'kvWrite' : 'ropeKvWrite'] as const) {
      const gpu = device({ ...cudaTable, [op]: { ...cudaTable[op], activations: ['f32', 'f16'] } }, false);
      expect(chooseDTypes(auto, { ...model, dtype: 'bf16' }, gpu).activations, op).toBe('f32');
      expect(chooseDTypes(auto, { ...model, dtype: 'f16' }, gpu).activations, op).toBe('f16');
    }
  });

  it('counts the collective ops of a group in', () => {
    const allReduce = { activations: ['f32', 'f16'] } as const;
    const dtypes = { ...info.dtypes, allReduce };
    for (const [ranks, activations] of [
      [1, 'bf16'],
      [2, 'f32'],
    ] as const) {
      // biome-ignore format: pairs
      const { info: alone } = device(dtypes, false);
      const group = { info: { ...alone, ranks } } as Device;
      expect(chooseDTypes(auto, { ...model, dtype: 'bf16' }, group).activations).toBe(activations);
    }
  });

  it('takes the cache dtype that is asked for', () => {
    const gpu = device(cudaTable, false);
    for (const kvCacheDtype of floats) {
      expect(chooseDTypes({ ...auto, kvCacheDtype }, { ...model, dtype: 'bf16' }, gpu)).toEqual({
        ...all('bf16'),
        kvCache: kvCacheDtype,
      });
    }
    expect(() => chooseDTypes({ ...auto, kvCacheDtype: 'bf16' }, model, device(webgpuTable, false))).toThrow(
      'kvCacheDtype bf16 is not offered by Test. It offers f32, f16, i8, f8e4m3.',
    );
  });
});
