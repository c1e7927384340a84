import { DeviceError, type StepSizes, type SubmitStep } from '@quire/core/contract';
import { sizeNames } from '@quire/core/program';
import { BINDING_ALIGNMENT } from './compile.ts';
import { WebGpuExecutable } from './executable.ts';
import { type DeviceMemory, UNIFORM_USAGE } from './memory.ts';

export interface OwnStep {
  readonly executable: WebGpuExecutable;
  readonly sizes: StepSizes;
}

const WORDS_PER_SLOT = BINDING_ALIGNMENT / 4;

/**
 * Encodes lists of steps. The sizes of a list's entries lie in slots of one uniform buffer; a submit writes them before it is
 * queued, and the queue keeps that order, so one slot per entry is enough however many submits are in flight.
 */
export class StepEncoder {
  readonly #device: GPUDevice;
  readonly #memory: DeviceMemory;
  readonly #layout: GPUBindGroupLayout;
  #words = new Uint32Array(0);
  #written = new Uint32Array(0);
  #buffer: GPUBuffer | undefined;
  #group: GPUBindGroup | undefined;

  constructor(device: GPUDevice, memory: DeviceMemory, sizesLayout: GPUBindGroupLayout) {
    this.#device = device;
    this.#memory = memory;
    this.#layout = sizesLayout;
  }

  /** One command buffer that runs the list `times` times over. */
  submit(steps: readonly OwnStep[], times: number): void {
    const group = this.writeSizes(steps);
    const encoder = this.#device.createCommandEncoder({ label: 'step' });
    const pass = encoder.beginComputePass();
    for (let time = 0; time < times; time++) {
      for (let i = 0; i < steps.length; i++) this.#encodeStep(steps[i]!, i, pass, group);
    }
    pass.end();
    this.#device.queue.submit([encoder.finish()]);
  }

  /** Puts the sizes of each entry into its slot and gives the group of `sizesLayout` to bind at offset slot * 256. */
  writeSizes(steps: readonly OwnStep[]): GPUBindGroup {
    const group = this.#reserve(steps.length);
    steps.forEach(({ sizes }, slot) => {
      sizeNames.forEach((name, word) => {
        this.#words[slot * WORDS_PER_SLOT + word] = sizes[name];
      });
    });
    const length = steps.length * WORDS_PER_SLOT;
    if (!sameWords(this.#words, this.#written, length)) {
      this.#device.queue.writeBuffer(this.#buffer!, 0, this.#words, 0, length);
      this.#written.set(this.#words.subarray(0, length));
    }
    return group;
  }

  #encodeStep({ executable, sizes }: OwnStep, slot: number, pass: GPUComputePassEncoder, group: GPUBindGroup): void {
    pass.setBindGroup(1, group, [slot * BINDING_ALIGNMENT]);
    for (let index = 0; index < executable.ops.length; index++) executable.encodeOp(index, pass, sizes, 1);
  }

  #reserve(slots: number): GPUBindGroup {
    const words = slots * WORDS_PER_SLOT;
    if (this.#group !== undefined && words <= this.#words.length) return this.#group;
    if (this.#buffer !== undefined) this.#memory.free(this.#buffer);
    this.#words = new Uint32Array(words);
    this.#written = new Uint32Array(words);
    this.#buffer = this.#memory.allocate('sizes', words * 4, UNIFORM_USAGE);
    const resource = { buffer: this.#buffer, size: 32 };
    this.#group = this.#device.createBindGroup({
      label: 'sizes',
      layout: this.#layout,
      entries: [{ binding: 0, resource }],
    });
    return this.#group;
  }
}

function sameWords(a: Uint32Array, b: Uint32Array, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The steps of a contract submit as those of the device with this memory. */
export function ownSteps(steps: readonly SubmitStep[], memory: DeviceMemory): OwnStep[] {
  return steps.map(({ executable, sizes }) => {
    if (executable instanceof WebGpuExecutable && executable.belongsTo(memory)) return { executable, sizes };
    const { name } = executable.program;
    throw new DeviceError(`program ${name}: found one compiled by another device, expected one of this device.`);
  });
}
