import type { Activation, Dim, DType, OpName, OpOf, StepSizes, TensorName } from '@quire/core/contract';
import { DeviceError, elementBytes, isQuantDType, quantFormats, shapeBytes } from '@quire/core/contract';
import { sizeNames } from '@quire/core/program';
import type { FragmentName, ShaderName, ShaderVariant } from './shader-text.ts';
import type { shaders } from './shaders.gen.ts';

type Shaders = typeof shaders;
type BindingName<S extends ShaderName> = Exclude<Shaders[S]['bindings'][number]['name'], 'params'>;
type Params<S extends ShaderName> = { readonly [P in Shaders[S]['params'][number] as P['name']]: number };
type Slots<S extends ShaderName> = {
  readonly [K in keyof Shaders[S]['fragments']]: Shaders[S]['fragments'][K] extends readonly (infer F)[] ? F : never;
};

/** How an adapter is best used. Nothing of it changes with the batch, and so a row's arithmetic does not. */
export interface Tuning {
  /** For norms, and for products that are not timed. */
  readonly lanes: Lanes;
  /** How a linear layer is computed, for all numbers of rows. */
  readonly linear: (layer: LinearLayer) => LinearWay;
  readonly attentionLanes: Lanes;
  /**
   * Steps of up to so many rows are treated apart: layers take in the norms before them, since each dispatch costs more than it computes,
   * and attention over long contexts is split, since there are too few heads to fill a GPU. 0: none are.
   */
  readonly fewRows: number;
  /** f16 caches are read as f16 instead of by unpacking words. */
  readonly nativeHalf: boolean;
  /** Invocations that share the vocabulary of one sample. */
  readonly vocabularyLanes: number;
}
/** How the invocations of a group share a sum (shaders/lib/lanes_*.wgsl). */
export interface Lanes {
  readonly fragment: 'lanes_one' | 'lanes_subgroup' | 'lanes_workgroup';
  /** Invocations of a group: 1, the subgroup size, or the workgroup size. */
  readonly count: number;
}

export type LayerOp = OpOf<'linear'> | OpOf<'gatedLinear'>;
export type NormOp = OpOf<'rmsNorm'>;

/** Which norms of a program are taken in by the layers behind them. */
export interface NormFusion {
  /** The norm of the rows that a layer multiplies. */
  readonly ofLayer: ReadonlyMap<LayerOp, NormOp>;
  /** How the layer's lanes share a row: its norm adds in the same order where it is a dispatch of its own. */
  readonly lanesOf: ReadonlyMap<NormOp, Lanes>;
}

/** One way to share out a linear layer: a family of kernels, one for each range of rows. */
export interface LinearWay {
  readonly name: string;
  readonly lanes: Lanes;
  /**
   * Lanes share the sum of a column, or have columns of their own (with lanes of a subgroup only), or share sums of integers, for weights in
   * few bits; other weights are then computed as with `shared`.
   */
  readonly sums: 'shared' | 'own' | 'integers';
}
export interface LinearLayer {
  readonly op: 'linear' | 'gatedLinear';
  readonly dtype: DType;
  /** Columns of the output. */
  readonly columns: number;
  readonly depth: number;
}

/** A tensor of the Program, as a kernel sees it. */
export interface KernelTensor {
  readonly name: TensorName;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}
/** Memory that a kernel needs for itself: shared by the ops of an executable, or `clean`: zero between runs, kept so by the op. */
export interface Scratch {
  readonly scratch: 'shared' | 'clean';
  readonly bytes: number;
}
/** What may stand for a binding: a tensor, scratch memory, or `unused` where the mode of the kernel does not touch it. */
export type KernelBinding = KernelTensor | Scratch | 'unused';

/** One dispatch of an op, its grid open until the sizes of a step are known. */
export interface Dispatch {
  readonly variant: ShaderVariant;
  readonly params: Readonly<Record<string, number>>;
  readonly bindings: Readonly<Record<string, KernelBinding>>;
  /** Workgroups. 0 skips the dispatch. */
  readonly workgroups: (sizes: StepSizes) => number;
}

export interface KernelContext {
  readonly tuning: Tuning;
  readonly maxSizes: StepSizes;
  readonly norms: NormFusion;
  tensor(name: TensorName): KernelTensor;
}

/** Turns an op into its dispatches. */
export type Kernel<K extends OpName> = (op: OpOf<K>, context: KernelContext) => readonly Dispatch[];

export interface DispatchSpec<S extends ShaderName> {
  readonly fragments: Slots<S>;
  readonly consts?: Readonly<Record<string, number>>;
  readonly params: Params<S>;
  readonly bindings: { readonly [B in BindingName<S>]: KernelBinding };
  readonly workgroups: (sizes: StepSizes) => number;
}

/** A dispatch of one shader: names of bindings, params and fragments are checked against its generated tables. */
export function dispatch<S extends ShaderName>(shader: S, spec: DispatchSpec<S>): Dispatch {
  const fragments = spec.fragments as Readonly<Record<string, FragmentName>>;
  return { ...spec, variant: { shader, fragments, consts: spec.consts ?? {} } };
}

const SYMBOLIC = 0x80000000;

/** A dimension for Params: its number, or a code that the shader resolves against the sizes of the step. */
export function dimCode(dim: Dim): number {
  return typeof dim === 'number' ? dim : SYMBOLIC + sizeNames.indexOf(dim);
}

export function sizeOf(dim: Dim, sizes: StepSizes): number {
  return typeof dim === 'number' ? dim : sizes[dim];
}

/** A dimension that the contract fixes before the step: only the first one of a tensor may be a size. */
export function fixed(tensor: KernelTensor, axis: number): number {
  const dim = tensor.shape[axis];
  if (typeof dim === 'number') return dim;
  throw new DeviceError(`tensor ${tensor.name}: found dimension ${axis} = ${dim}, expected a number.`);
}

const dtypeCodes: Readonly<Record<DType, number>> = {
  f32: 0,
  f16: 1,
  bf16: 2,
  u32: 0,
  q8: 3,
  q4_32: 4,
  q4_128: 5,
  q4_32z: 6,
  q4_128z: 7,
  i8: 0,
  f8e4m3: 1,
};

/** Code of shaders/lib/element.wgsl. */
export function dtypeCode(tensor: KernelTensor): number {
  return dtypeCodes[tensor.dtype];
}

/** Workgroups for element-wise kernels (shaders/lib/elements.wgsl). */
export const ELEMENTS_PER_WORKGROUP = 64;
export function elementGrid(rows: Dim, width: number): (sizes: StepSizes) => number {
  return sizes => Math.ceil((sizeOf(rows, sizes) * width) / ELEMENTS_PER_WORKGROUP);
}

/** Groups that share a workgroup of lanes_one. */
const GROUPS_PER_WORKGROUP = 4;

/** Constants of the lanes fragment in use. */
export function laneConsts(lanes: Lanes): Readonly<Record<string, number>> {
  return lanes.fragment === 'lanes_one' ? { WORKGROUP: GROUPS_PER_WORKGROUP } : { LANES: lanes.count };
}

/** Workgroups for a number of lane groups. */
export function laneGrid(lanes: Lanes, groups: (sizes: StepSizes) => number): (sizes: StepSizes) => number {
  if (lanes.fragment !== 'lanes_one') return groups;
  return sizes => Math.ceil(groups(sizes) / GROUPS_PER_WORKGROUP);
}

/** Constants of kernels that give a workgroup to each sample (shaders/lib/vocabulary.wgsl). */
export function vocabularyConsts(tuning: Tuning): Readonly<Record<string, number>> {
  return { LANES: tuning.vocabularyLanes };
}

export type WeightsName =
  | 'weights_f32'
  | 'weights_f16'
  | 'weights_bf16'
  | 'weights_q8'
  | 'weights_q4'
  | 'weights_q4_zeros';

/** The fragment that reads four values of a weight at a time, and its constants. */
export function weightFragment(weight: KernelTensor): { name: WeightsName; consts: Readonly<Record<string, number>> } {
  const { dtype } = weight;
  if (!isQuantDType(dtype)) return { name: `weights_${dtype}` as WeightsName, consts: {} };
  const { bits, group, zeros } = quantFormats[dtype];
  if (bits === 8) return { name: 'weights_q8', consts: {} };
  return { name: zeros ? 'weights_q4_zeros' : 'weights_q4', consts: { GROUP: group } };
}
export type KvName = 'kv_f32' | 'kv_f16' | 'kv_native_f16' | 'kv_i8' | 'kv_f8e4m3';

/** headDim in vectors of four. */
export function headVectors(headDim: number): number {
  if (headDim % 4 === 0) return headDim / 4;
  throw new DeviceError(`headDim: found ${headDim}, expected a multiple of 4 on this device.`);
}

/** Elements of a head in one 32-bit word of a cache. */
export function cacheWordElements(cache: KernelTensor, headDim: number): number {
  const elements = 4 / elementBytes(cache.dtype);
  if (headDim % elements === 0) return elements;
  throw new DeviceError(`headDim: found ${headDim}, expected a multiple of ${elements} for a cache in ${cache.dtype}.`);
}

/** What moves together with the blocks of an op: K and V, and where these hold codes their scales. */
export function cachePairs(
  op: {
    readonly kCache: TensorName;
    readonly vCache: TensorName;
    readonly kScales?: TensorName;
    readonly vScales?: TensorName;
  },
  context: KernelContext,
): (readonly [k: KernelTensor, v: KernelTensor])[] {
  const pairs = [[op.kCache, op.vCache] as const];
  if (op.kScales !== undefined && op.vScales !== undefined) pairs.push([op.kScales, op.vScales]);
  return pairs.map(([k, v]) => [context.tensor(k), context.tensor(v)] as const);
}

/** 32-bit words of one block of a cache or of its scales. */
export function blockWords(cache: KernelTensor): number {
  const words =
    shapeBytes(
      cache.dtype,
      cache.shape.slice(1).map((_, axis) => fixed(cache, axis + 1)),
    ) / 4;
  if (Number.isInteger(words)) return words;
  throw new DeviceError(
    `cache ${cache.name}: found blocks of ${words * 4} bytes, expected whole words on this device.`,
  );
}

const activations: readonly Activation[] = ['none', 'relu', 'silu', 'gelu', 'geluTanh'];

/** Code of shaders/lib/activation.wgsl. */
export function activationCode(activation: Activation): number {
  return activations.indexOf(activation);
}
