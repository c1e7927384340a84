import { ModelFormatError } from '../../errors.ts';
import { quote } from '../json-scan.ts';
import { MAX_FILE_TENSORS } from '../limits.ts';
import type { GgufArchitecture } from './architectures.ts';
import type { GgufTensor } from './header.ts';
import type { GgufMetadata } from './metadata.ts';

const whole: Readonly<Record<string, string>> = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
};

/** What the tensors of a file are called by Hugging Face. */
export class TensorNames {
  readonly #architecture: GgufArchitecture;
  readonly #metadata: GgufMetadata;

  constructor(architecture: GgufArchitecture, metadata: GgufMetadata) {
    this.#architecture = architecture;
    this.#metadata = metadata;
  }

  /**
   * A tensor under its name, or the matrices of all experts that are in it. Throws ModelFormatError GG_NAME for one that belongs to
   * no weight, GG_TENSOR for one that is not a matrix of each expert.
   */
  of(tensor: GgufTensor): readonly (readonly [name: string, tensor: GgufTensor])[] {
    if (Object.hasOwn(whole, tensor.name)) return [[whole[tensor.name]!, tensor]];
    const [, layer, part = '', kind] = /^blk\.(\d{1,4})\.([a-z_]+)\.(weight|bias)$/.exec(tensor.name) ?? [];
    const { parts, experts } = this.#architecture;
    const to = `model.layers.${Number(layer)}`;
    if (experts !== undefined && part === 'ffn_gate_inp') return [[`${to}.${experts.module}.gate.${kind}`, tensor]];
    const matrix = /^ffn_(gate|up|down)_exps$/.exec(part)?.[1] as 'gate' | 'up' | 'down' | undefined;
    if (experts !== undefined && matrix !== undefined && kind === 'weight') {
      return this.#experts(tensor, `${to}.${experts.module}.experts`, experts[matrix]);
    }
    if (!Object.hasOwn(parts, part)) throw this.unknown(tensor);
    return [[`${to}.${parts[part]}.${kind}`, tensor]];
  }

  /** The matrices of a tensor [experts, rows, columns], one after another. */
  #experts(tensor: GgufTensor, to: string, part: string): (readonly [string, GgufTensor])[] {
    const { shape, start, end } = tensor;
    const count = this.#metadata.size(this.#metadata.own('expert_count'));
    if (shape.length !== 3 || shape[0] !== count) {
      throw this.#fail('GG_TENSOR', 'the tensor has not a matrix for each expert', tensor, {
        found: `[${shape.join(', ')}]`,
        expected: `[${count}, rows, columns]`,
      });
    }
    if (count > MAX_FILE_TENSORS) throw this.tooMany(tensor);
    const bytes = (end - start) / count;
    const matrix = (id: number) => ({
      ...tensor,
      shape: shape.slice(1),
      start: start + id * bytes,
      end: start + (id + 1) * bytes,
    });
    return Array.from({ length: count }, (_, id) => [`${to}.${id}.${part}.weight`, matrix(id)] as const);
  }

  unknown(tensor: GgufTensor): ModelFormatError {
    const expected = `the tensors of ${this.#metadata.architecture}`;
    return this.#fail('GG_NAME', 'the tensor belongs to no weight of the model', tensor, { expected });
  }

  tooMany(tensor: GgufTensor): ModelFormatError {
    const expected = `at most ${MAX_FILE_TENSORS}`;
    return this.#fail('GG_LIMIT', 'there are more matrices of experts than any model has', tensor, { expected });
  }

  #fail(code: string, problem: string, { name }: GgufTensor, details: { found?: string; expected: string }) {
    return new ModelFormatError(code, problem, { file: this.#metadata.file, tensor: quote(name), ...details });
  }
}
