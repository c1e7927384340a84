/** The sampler's ops on a device, on logits and rows that a test makes up. */
import {
  type Device,
  type DeviceTensor,
  NONE,
  ROW_WORDS,
  Row,
  SAMPLE_WORDS,
  Sample,
  type TypedArray,
} from '@quire/core/contract';
import { ProgramBuilder } from '@quire/core/program';
import { noSizes } from '../unit/reference/run-op.ts';

export interface SamplerRowInput {
  logits: readonly number[] | Float32Array;
  prompt?: readonly number[];
  output?: readonly number[];
  /** null: all ids. */
  allowed?: readonly number[] | null;
  biases?: readonly (readonly number[])[];
  stops?: readonly number[];
  /** Stop ids are masked. */
  early?: boolean;
  repetition?: number;
  frequency?: number;
  presence?: number;
  temperature: number;
  topK?: number;
  topP?: number;
  minP?: number;
  seed: bigint;
  /** That the noise is keyed by. Default: behind prompt and output. */
  position?: number;
}

export interface SamplerOutputs {
  masked: Float32Array;
  biased: Float32Array;
  processed: Float32Array;
  thresholds: Float32Array;
  /** (id, flags) of each row. */
  sampled: Uint32Array;
  greedy: Uint32Array;
  logprobs: Float32Array;
  logprobIds: Uint32Array;
}

export const TOP_N = 5;
const BIAS_WORDS = 80;
const MAX_TOKENS = 32;

const floatBits = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0]!;

/** All stages for one sample of each row; every stage writes a tensor of its own. */
export class SamplerOnDevice {
  readonly #device: Device;
  readonly #tensors = new Map<string, DeviceTensor>();
  readonly #count: number;
  readonly #vocabulary: number;

  constructor(device: Device, count: number, vocabulary: number) {
    this.#device = device;
    this.#count = count;
    this.#vocabulary = vocabulary;
  }

  async run(rows: readonly SamplerRowInput[]): Promise<SamplerOutputs> {
    const builder = new ProgramBuilder('sampler', { ...noSizes, samples: this.#count });
    const declare = (name: string, dtype: 'f32' | 'u32', width: number[]) => {
      builder.external(name, dtype, [this.#count, ...width]);
      if (!this.#tensors.has(name)) {
        const spec = { name, dtype, shape: [this.#count, ...width], usage: 'state' } as const;
        this.#tensors.set(name, this.#device.createTensor(spec));
      }
      return name;
    };
    const [samples, rowState] = [declare('samples', 'u32', [SAMPLE_WORDS]), declare('rows', 'u32', [ROW_WORDS])];
    const shared = { samples, rows: rowState };
    const draws = { ...shared, samples: declare('draws', 'u32', [SAMPLE_WORDS]) };
    const logitsOf = (name: string) => declare(name, 'f32', [this.#vocabulary]);
    const [logits, masked, biased, processed] = ['logits', 'masked', 'biased', 'processed'].map(logitsOf) as [
      string,
      string,
      string,
      string,
    ];
    const masks = declare('masks', 'u32', [Math.ceil(this.#vocabulary / 32)]);
    const biases = declare('biases', 'u32', [BIAS_WORDS]);
    const tokenIds = declare('tokenIds', 'u32', [MAX_TOKENS]);
    const thresholds = declare('thresholds', 'f32', []);
    const [sampled, greedy] = [declare('sampled', 'u32', [2]), declare('greedy', 'u32', [2])];
    const [logprobs, logprobIds] = [declare('logprobs', 'f32', [1 + TOP_N]), declare('logprobIds', 'u32', [2 + TOP_N])];
    builder.add({ op: 'maskLogits', logits, ...shared, masks, out: masked });
    builder.add({ op: 'biasLogits', logits: masked, ...shared, biases, out: biased });
    builder.add({ op: 'penalties', logits: biased, ...shared, tokenIds, out: processed });
    builder.add({ op: 'filterLogits', logits: processed, ...shared, thresholds });
    builder.add({ op: 'sample', logits: processed, thresholds, ...draws, sampled });
    builder.add({ op: 'argmax', logits: processed, samples, sampled: greedy });
    builder.add({ op: 'logProbs', logits, samples, sampled, logprobs, logprobIds, topN: TOP_N });
    const program = builder.build();
    const executable = await this.#device.compile(program, Object.fromEntries(this.#tensors));
    rows.forEach((row, i) => void this.#writeRow(row, i));
    this.#device.submit([{ executable, sizes: program.maxSizes }]);
    const outputs = await this.#readAll();
    executable.dispose();
    return outputs;
  }

  dispose(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose();
  }

  #writeRow(row: SamplerRowInput, i: number): void {
    const { prompt = [0], output = [], allowed = null, biases = [], stops = [] } = row;
    const position = prompt.length + output.length;
    const list = [...stops, ...biases.flatMap(([id, bias]) => [id!, floatBits(bias!)])];
    const mask = new Uint32Array(Math.ceil(this.#vocabulary / 32));
    for (const id of allowed ?? []) mask[id >>> 5]! |= 1 << (id & 31);
    this.#write('samples', i, sampleRecord(i, position));
    this.#write('draws', i, sampleRecord(i, row.position ?? position));
    this.#write('rows', i, this.#record(row, prompt.length, position, stops.length, biases.length));
    this.#write('logits', i, Float32Array.from(row.logits));
    this.#write('masks', i, mask);
    this.#write(
      'biases',
      i,
      Uint32Array.from({ length: BIAS_WORDS }, (_, word) => list[word] ?? 0),
    );
    this.#write(
      'tokenIds',
      i,
      Uint32Array.from({ length: MAX_TOKENS }, (_, at) => [...prompt, ...output][at] ?? 0),
    );
  }

  #record(row: SamplerRowInput, promptTokens: number, position: number, stops: number, biases: number): Uint32Array {
    const { repetition = 1, frequency = 0, presence = 0, topP = 1, minP = 0, temperature } = row;
    const words = new Uint32Array(ROW_WORDS);
    const floats = {
      temperature,
      topP,
      minP,
      repetitionPenalty: repetition,
      frequencyPenalty: frequency,
      presencePenalty: presence,
    };
    for (const [name, value] of Object.entries(floats)) words[Row[name as keyof typeof Row]] = floatBits(value);
    words[Row.numTokens] = position;
    words[Row.promptTokens] = promptTokens;
    words[Row.topK] = row.topK ?? 0;
    words[Row.seedLow] = Number(row.seed & 0xffffffffn);
    words[Row.seedHigh] = Number(row.seed >> 32n);
    words[Row.minTokensUntil] = row.early ? position + 1 : 0;
    words[Row.numStopIds] = stops;
    words[Row.numBiases] = biases;
    words[Row.masked] = Number((row.allowed ?? null) !== null);
    return words;
  }

  #write(name: string, row: number, data: TypedArray): void {
    this.#device.write(this.#tensors.get(name)!, data, row * data.length);
  }

  async #readAll(): Promise<SamplerOutputs> {
    const read = async <A extends TypedArray>(name: string, into: A): Promise<A> => {
      await this.#device.read(this.#tensors.get(name)!, 0, into);
      return into;
    };
    const [n, v] = [this.#count, this.#vocabulary];
    return {
      masked: await read('masked', new Float32Array(n * v)),
      biased: await read('biased', new Float32Array(n * v)),
      processed: await read('processed', new Float32Array(n * v)),
      thresholds: await read('thresholds', new Float32Array(n)),
      sampled: await read('sampled', new Uint32Array(2 * n)),
      greedy: await read('greedy', new Uint32Array(2 * n)),
      logprobs: await read('logprobs', new Float32Array(n * (1 + TOP_N))),
      logprobIds: await read('logprobIds', new Uint32Array(n * (2 + TOP_N))),
    };
  }
}

function sampleRecord(row: number, position: number): Uint32Array {
  const record = new Uint32Array(SAMPLE_WORDS);
  record[Sample.row] = row;
  record[Sample.position] = position;
  record[Sample.target] = NONE;
  return record;
}
