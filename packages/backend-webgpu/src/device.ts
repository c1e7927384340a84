import {
  type Bindings,
  type CompileOptions,
  type Device,
  DeviceError,
  type DeviceInfo,
  DeviceLostError,
  type DeviceTensor,
  type Executable,
  type OpTiming,
  type Program,
  type StepSizes,
  type SubmitStep,
  type TensorSpec,
  type TypedArray,
} from '@quire/core/contract';
import { assertOffered, checkBindings, checkSizes, validateProgram } from '@quire/core/program';
import type { AdapterTuning } from './adapter.ts';
import { type CompileHost, compileProgram, UNUSED_BYTES } from './compile.ts';
import { asDeviceError, FaultState } from './errors.ts';
import { WebGpuExecutable } from './executable.ts';
import { HostTier } from './host-tier.ts';
import { largeLayers, openLayerRun } from './layer-run.ts';
import { DeviceMemory, elementRange, ownTensor, specBytes, TENSOR_USAGE, WebGpuTensor } from './memory.ts';
import { PipelineCache } from './pipelines.ts';
import { profileOps } from './profile.ts';
import { ownSteps, StepEncoder } from './queue.ts';
import { type Pacer, ReadBack } from './read-back.ts';
import { TensorWriter } from './tensor-writer.ts';
import { type KeptChoices, LinearTuner } from './tuning.ts';

/** Device over one GPUDevice. Made by openWebGpuDevice. */
export class WebGpuDevice implements Device {
  readonly info: DeviceInfo;
  readonly #gpu: GPUDevice;
  readonly #faults = new FaultState();
  readonly #memory: DeviceMemory;
  readonly #pacer: Pacer;
  readonly #reads: ReadBack;
  readonly #writer: TensorWriter;
  readonly #steps: StepEncoder;
  readonly #compileHost: CompileHost;
  readonly #hostTier: HostTier;
  readonly #tuner: LinearTuner;

  /** `choices`: where the ways of linear layers that were the fastest are kept. */
  constructor(gpu: GPUDevice, info: DeviceInfo, adapterTuning: AdapterTuning, pacer: Pacer, choices: KeptChoices) {
    this.#gpu = gpu;
    this.info = info;
    this.#pacer = pacer;
    this.#memory = new DeviceMemory(gpu, error => this.#faults.fail(error, true));
    this.#reads = new ReadBack(gpu, this.#memory, pacer);
    const pipelines = new PipelineCache(gpu);
    this.#writer = new TensorWriter(gpu, this.#memory, pipelines, pacer);
    this.#steps = new StepEncoder(gpu, this.#memory, pipelines.sizesLayout);
    const unused = {
      read: this.#memory.allocate('unused, read', UNUSED_BYTES, TENSOR_USAGE),
      read_write: this.#memory.allocate('unused, read_write', UNUSED_BYTES, TENSOR_USAGE),
    };
    const { maxTensorBytes } = info.limits;
    this.#tuner = new LinearTuner(adapterTuning.ways, choices);
    const tuning = { ...adapterTuning, linear: this.#tuner.way.bind(this.#tuner) };
    this.#compileHost = { device: gpu, memory: this.#memory, pipelines, tuning, maxTensorBytes, unused };
    this.#hostTier = new HostTier(gpu, this.#memory, pipelines, pacer);
    this.#watch();
  }

  get lost(): Promise<DeviceLostError> {
    return this.#faults.lost;
  }

  createTensor(spec: TensorSpec): DeviceTensor {
    this.#assertOpen();
    const bytes = specBytes(spec);
    const { maxTensorBytes } = this.info.limits;
    if (bytes > maxTensorBytes) {
      throw new DeviceError(
        `tensor ${spec.name}: found ${bytes} bytes, expected at most ${maxTensorBytes} (limits.maxTensorBytes).`,
      );
    }
    const buffer = this.#memory.allocate(spec.name, bytes, TENSOR_USAGE);
    const tensor: WebGpuTensor = new WebGpuTensor(this.#memory, spec, buffer, 0, () => {
      this.#reads.flush();
      this.#hostTier.remove(tensor);
      this.#memory.free(buffer);
    });
    if (spec.usage === 'kvCache') this.#hostTier.add(tensor);
    return tensor;
  }

  write(tensor: DeviceTensor, data: TypedArray, offset = 0): void {
    if (this.#faults.end !== undefined) return;
    const target = ownTensor(tensor, this.#memory);
    const range = elementRange(target, offset, data);
    this.#reads.flush();
    this.#writer.write(target, range.start, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  upload(tensor: DeviceTensor, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    return this.#faults.guard(async () => {
      this.#reads.flush();
      await this.#writer.upload(ownTensor(tensor, this.#memory), chunks, () => this.#assertOpen());
    });
  }

  read(tensor: DeviceTensor, offset: number, into: TypedArray): Promise<void> {
    return this.#faults.guard(async () => {
      const source = ownTensor(tensor, this.#memory);
      const { start } = elementRange(source, offset, into);
      const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
      this.#faults.throwFailure();
      await this.#reads.read(source.buffer, source.byteOffset + start, bytes).then(() => this.#faults.throwReported());
    });
  }

  compile(program: Program, bindings: Bindings, options: CompileOptions = {}): Promise<Executable> {
    return this.#faults.guard(async () => {
      validateProgram(program);
      checkBindings(program, bindings);
      assertOffered(this.info, program);
      await this.#tune(program, bindings);
      const { pipelines } = this.#compileHost;
      const parts = await compileProgram(this.#compileHost, program, bindings, options);
      return new WebGpuExecutable(parts, {
        memory: this.#memory,
        profile: (executable, sizes) => this.#profile(executable, sizes),
        dispatched: variant => pipelines.dispatched.add(variant),
      });
    });
  }

  submit(steps: readonly SubmitStep[], times = 1): void {
    if (this.#faults.end !== undefined) return;
    if (!Number.isInteger(times) || times < 1) {
      throw new DeviceError(`submit: found times ${times}, expected an integer of 1 or more.`);
    }
    if (steps.length === 0) return;
    const own = ownSteps(steps, this.#memory);
    for (const { executable, sizes } of own) {
      checkSizes(executable.program, sizes);
      const fault = executable.fault();
      if (fault === undefined) continue;
      this.#faults.fail(fault);
      return;
    }
    this.#reads.flush();
    this.#steps.submit(own, times);
    this.#pacer.queued(times * own.reduce((tokens, { sizes }) => tokens + sizes.tokens, 0));
  }

  transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    return this.#faults.guard(() => {
      this.#reads.flush();
      return this.#hostTier.transfer(blocks, hostSlots, direction);
    });
  }

  synchronize(): Promise<void> {
    return this.#faults.guard(async () => {
      this.#faults.throwFailure();
      this.#reads.flush();
      await this.#pacer.around(() => this.#gpu.queue.onSubmittedWorkDone());
      this.#faults.throwReported();
    });
  }

  allocatedBytes(): number {
    return this.#memory.bytes;
  }

  /** Names of the shader variants that have run on this device, so that a suite can tell which have not. */
  dispatchedVariants(): string[] {
    return [...this.#compileHost.pipelines.dispatched].sort();
  }

  async dispose(): Promise<void> {
    this.#faults.close(new DeviceLostError('the device was disposed of.'));
    this.#memory.freeAll();
    this.#gpu.destroy();
    await this.#gpu.lost;
  }

  /** Chooses how the large linear layers of a program are computed. */
  #tune(program: Program, bindings: Bindings): Promise<void> {
    return this.#tuner.choose(largeLayers(program), (layer, way) => {
      const weight = ownTensor(bindings[layer.weight]!, this.#memory);
      return openLayerRun(this.#compileHost, this.#steps, layer, weight, way);
    });
  }

  #profile(executable: WebGpuExecutable, sizes: StepSizes): Promise<OpTiming[]> {
    return this.#faults.guard(async () => {
      checkSizes(executable.program, sizes);
      const fault = executable.fault();
      if (fault !== undefined) throw fault;
      this.#reads.flush();
      return profileOps(this.#gpu, this.#memory, this.#steps, { executable, sizes });
    });
  }

  #watch(): void {
    this.#gpu.addEventListener('uncapturederror', event => {
      event.preventDefault();
      this.#faults.fail(asDeviceError((event as GPUUncapturedErrorEvent).error, 'WebGPU refused a command'), true);
    });
    void this.#gpu.lost.then(({ reason, message }) => {
      const error = new DeviceLostError(`the GPU was lost (${reason || 'unknown'}): ${message}`);
      this.#faults.lose(error);
      this.#memory.freeAll();
    });
  }

  #assertOpen(): void {
    if (this.#faults.end !== undefined) throw this.#faults.end;
  }
}
