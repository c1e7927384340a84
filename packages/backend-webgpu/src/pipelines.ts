import { DeviceError, type OpName } from '@quire/core/contract';
import { composeShader, type ShaderName, type ShaderVariant, shaderInfo, variantName } from './shader-text.ts';

export interface Pipeline {
  readonly name: string;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

const COMPUTE = 4; // GPUShaderStage.COMPUTE
const bufferTypes = { read: 'read-only-storage', read_write: 'storage', uniform: 'uniform' } as const;

/** Pipelines by variant and constants, each made once per device. Layouts come from the binding tables, not from the text. */
export class PipelineCache {
  /** Group 1 of the kernels that use them: the sizes of the step, at a dynamic offset. */
  readonly sizesLayout: GPUBindGroupLayout;
  /** Names of the variants that were dispatched. */
  readonly dispatched = new Set<string>();
  readonly #device: GPUDevice;
  readonly #layouts = new Map<ShaderName, GPUBindGroupLayout>();
  readonly #pipelines = new Map<string, Promise<Pipeline>>();

  constructor(device: GPUDevice) {
    this.#device = device;
    this.sizesLayout = device.createBindGroupLayout({
      label: 'sizes',
      entries: [{ binding: 0, visibility: COMPUTE, buffer: { type: 'uniform', hasDynamicOffset: true } }],
    });
  }

  /** Rejects with a DeviceError that shows the lines that the compiler refuses. */
  get(variant: ShaderVariant, op?: OpName): Promise<Pipeline> {
    const key = `${variantName(variant)} ${JSON.stringify(variant.consts)}`;
    let pipeline = this.#pipelines.get(key);
    if (pipeline === undefined) {
      pipeline = this.#create(variant, op);
      this.#pipelines.set(key, pipeline);
      pipeline.catch(() => this.#pipelines.delete(key));
    }
    return pipeline;
  }

  /** Makes a small pipeline at once, for work that must be queued before this call returns. */
  getNow(variant: ShaderVariant): Pipeline {
    const name = variantName(variant);
    const module = this.#device.createShaderModule({ label: name, code: composeShader(variant) });
    const layout = this.#layout(variant.shader);
    const pipelineLayout = this.#pipelineLayout(variant.shader);
    const compute = { module, entryPoint: 'main' };
    return {
      name,
      layout,
      pipeline: this.#device.createComputePipeline({ label: name, layout: pipelineLayout, compute }),
    };
  }

  async #create(variant: ShaderVariant, op: OpName | undefined): Promise<Pipeline> {
    const name = variantName(variant);
    const code = composeShader(variant);
    const device = this.#device;
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ label: name, code });
    const refused = device.popErrorScope();
    const layout = this.#layout(variant.shader);
    const pipelineLayout = this.#pipelineLayout(variant.shader);
    try {
      const compute = { module, entryPoint: 'main' };
      const pipeline = await device.createComputePipelineAsync({ label: name, layout: pipelineLayout, compute });
      await refused;
      return { name, pipeline, layout };
    } catch (cause) {
      const details = (await compileErrors(module, code)) || (await refused)?.message || messageOf(cause);
      throw new DeviceError(`shader ${name} does not compile: ${details}`, op, { cause });
    }
  }

  #pipelineLayout(shader: ShaderName): GPUPipelineLayout {
    const layout = this.#layout(shader);
    const bindGroupLayouts = shaderInfo(shader).uses.includes('sizes') ? [layout, this.sizesLayout] : [layout];
    return this.#device.createPipelineLayout({ label: shader, bindGroupLayouts });
  }

  #layout(shader: ShaderName): GPUBindGroupLayout {
    const known = this.#layouts.get(shader);
    if (known !== undefined) return known;
    const entries = shaderInfo(shader).bindings.map(({ index, access }) => ({
      binding: index,
      visibility: COMPUTE,
      buffer: { type: bufferTypes[access] },
    }));
    const layout = this.#device.createBindGroupLayout({ label: shader, entries });
    this.#layouts.set(shader, layout);
    return layout;
  }
}

/** Messages of the compiler with the lines that they mean. */
async function compileErrors(module: GPUShaderModule, code: string): Promise<string> {
  const { messages } = await module.getCompilationInfo();
  const lines = code.split('\n');
  return messages
    .filter(message => message.type === 'error')
    .map(({ lineNum, linePos, message }) => `line ${lineNum}:${linePos} ${message}\n  ${lines[lineNum - 1] ?? ''}`)
    .join('\n');
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
