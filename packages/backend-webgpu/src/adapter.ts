import { DeviceError } from '@quire/core/contract';
import type { ChoiceStore } from './choices.ts';
import type { Lanes, LinearWay, Tuning } from './kernel.ts';

export interface WebGpuOptions {
  /** Which adapter the browser or driver should prefer. */
  powerPreference?: 'low-power' | 'high-performance';
  /** Lowers `info.limits.maxTensorBytes`. */
  maxTensorBytes?: number;
  /** `all` (default): every optional feature that the kernels can use, and the adapter's limits. `none`: neither. */
  features?: 'none' | 'all';
  /**
   * How kernels share a row among invocations. The default is measured: per kind of adapter, and for large linear layers on the GPU
   * itself. Tests set it, to run the kernels for GPUs on a software adapter too.
   */
  lanes?: 'one' | 'subgroup' | 'workgroup' | 'columns' | 'integers';
  /** Keeps from run to run which way was the fastest. Default: the browser's cache of responses, and in Node nothing. */
  choices?: ChoiceStore;
}

const USED_FEATURES = ['subgroups', 'shader-f16', 'timestamp-query'] as const;
const USED_LIMITS = ['maxBufferSize', 'maxStorageBufferBindingSize'] as const;
/** Larger tensors than this are split by core in any case. */
const LARGEST_TENSOR = 2 ** 30;
const WORKGROUP_LANES = 32;
/** What Dawn calls its backend that accepts everything and runs nothing. */
const NULL_BACKEND = 'null-backend';
/** Lanes that share a vocabulary: on processors as many as run at once, since each barrier costs more than it shares out. */
const SOFTWARE_LANES = 8;
const GPU_LANES = 256;
/** Rows of a step that leave most of a GPU idle. Processors are filled by a few groups. */
const FEW_ROWS = 4;
/** Subgroups whose lanes the kernels can give columns of their own. */
const COLUMN_LANES: readonly number[] = [4, 8];
/** Largest subgroup that is a workgroup of its own. */
const MAX_SUBGROUP = 128;

export async function requestAdapter(gpu: GPU, options: WebGpuOptions): Promise<GPUAdapter> {
  const { powerPreference } = options;
  const adapter = await gpu.requestAdapter(powerPreference === undefined ? {} : { powerPreference });
  if (adapter?.info.device === NULL_BACKEND) {
    throw new DeviceError('WebGPU found only the null adapter, which computes nothing. Install a GPU driver.');
  }
  if (adapter !== null) return adapter;
  const advice =
    'install a GPU driver with Vulkan, Metal or Direct3D 12, or use a browser with WebGPU (Chrome 113, Safari 26, Firefox 141 or newer)';
  throw new DeviceError(`WebGPU found no adapter: ${advice}.`);
}

/** The adapter's device with the features and limits that the kernels use. */
export function requestDevice(adapter: GPUAdapter, options: WebGpuOptions): Promise<GPUDevice> {
  if (options.features === 'none') return adapter.requestDevice({ label: 'quire' });
  const requiredFeatures = USED_FEATURES.filter(feature => adapter.features.has(feature));
  const limits = USED_LIMITS.map(name => [name, Math.min(adapter.limits[name], LARGEST_TENSOR)]);
  return adapter.requestDevice({ label: 'quire', requiredFeatures, requiredLimits: Object.fromEntries(limits) });
}

/** Whether the adapter runs on the processor. */
export function isSoftware({ architecture, description, isFallbackAdapter }: GPUAdapterInfo): boolean {
  return isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${architecture} ${description}`);
}

export function adapterName({ description, device, vendor, architecture }: GPUAdapterInfo): string {
  return description || device || [vendor, architecture].filter(Boolean).join(' ') || 'unknown adapter';
}

/** How the kernels are built for a device. */
export interface AdapterTuning extends Omit<Tuning, 'linear'> {
  /** The ways to compute a linear layer that may be the fastest; first the one that was on such adapters. */
  readonly ways: readonly [LinearWay, ...LinearWay[]];
}
type Kind = NonNullable<WebGpuOptions['lanes']>;

const sumsOf: Partial<Record<Kind, LinearWay['sums']>> = { columns: 'own', integers: 'integers' };

/** What such adapters are best used with. Throws DeviceError when `lanes` asks for what the adapter lacks. */
export function chooseTuning(device: GPUDevice, info: GPUAdapterInfo, options: WebGpuOptions): AdapterTuning {
  const software = isSoftware(info);
  const size = subgroupSize(device, info);
  const columns = size !== undefined && COLUMN_LANES.includes(size);
  checkLanes(options.lanes, size, columns);
  const ownChoice = software ? softwareLanes(size) : size === undefined ? 'workgroup' : 'subgroup';
  const kind = options.lanes ?? ownChoice;
  // On processors too, the heads of a KV head gain more by sharing what they read than the reduction costs.
  const attention = options.lanes ?? (size === undefined ? ownChoice : 'subgroup');
  const workgroup: Lanes = { fragment: 'lanes_workgroup', count: WORKGROUP_LANES };
  const lanes: Record<Kind, Lanes> = {
    one: { fragment: 'lanes_one', count: 1 },
    subgroup: { fragment: 'lanes_subgroup', count: size ?? 1 },
    columns: { fragment: 'lanes_subgroup', count: size ?? 1 },
    integers: size === undefined ? workgroup : { fragment: 'lanes_subgroup', count: size },
    workgroup,
  };
  const way = (name: Kind): LinearWay => ({ name, lanes: lanes[name], sums: sumsOf[name] ?? 'shared' });
  const others: Kind[] = options.lanes === undefined && !software ? otherWays(size, columns) : [];
  return {
    lanes: lanes[kind],
    ways: [way(kind), ...others.filter(name => name !== kind).map(way)],
    attentionLanes: lanes[attention],
    fewRows: software && options.lanes === undefined ? 0 : FEW_ROWS,
    nativeHalf: device.features.has('shader-f16'),
    vocabularyLanes: software ? (size ?? SOFTWARE_LANES) : GPU_LANES,
  };
}

/**
 * What a GPU may be faster with. On processors there is no choice: compiling the kernels of the others takes seconds, and times of a
 * device that shares its cores with other work mislead.
 */
function otherWays(size: number | undefined, columns: boolean): Kind[] {
  if (size === undefined) return ['integers'];
  return columns ? ['columns', 'workgroup', 'integers'] : ['workgroup', 'integers'];
}

/** On a processor. Vectors of 4 are too short to make up for the broadcasts (SwiftShader); of 8 they are not (lavapipe). */
function softwareLanes(size: number | undefined): 'columns' | 'one' {
  return size === 8 ? 'columns' : 'one';
}

function checkLanes(lanes: WebGpuOptions['lanes'], size: number | undefined, columns: boolean): void {
  if (lanes === 'subgroup' && size === undefined) {
    throw new DeviceError(
      'lanes: found "subgroup", but the device has no subgroups of one fixed size. Use "workgroup" or "one".',
    );
  }
  if (lanes === 'columns' && !columns) {
    throw new DeviceError(
      `lanes: found "columns", but the device's subgroups have ${size ?? 'no fixed number of'} lanes, expected ${COLUMN_LANES.join(' or ')}. Use another.`,
    );
  }
}

/**
 * The size of every subgroup, where there is only one: with several, two variants of a kernel may get different ones and
 * then sum in different orders, which would make a row depend on its batch.
 */
function subgroupSize(device: GPUDevice, info: GPUAdapterInfo): number | undefined {
  const { subgroupMinSize: min, subgroupMaxSize: max } = info;
  if (!device.features.has('subgroups') || min === undefined || min !== max || max > MAX_SUBGROUP) return undefined;
  return max;
}
