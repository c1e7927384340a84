import { type JsonCodes, readJsonObject } from '../weights/json-file.ts';
import { type JsonValue, showJson } from '../weights/json-tree.ts';
import type { ModelSource } from '../weights/types.ts';
import { ConfigFields } from './config-fields.ts';
import { type PackedMethod, type PackedWeights, packedMethods } from './packed/packed-weights.ts';
import { MAX_SIZE, type NoticeListener } from './parse-common.ts';

type Settings = Omit<PackedWeights, 'toldBy'>;
type Parser = (fields: ConfigFields, onNotice: NoticeListener) => Settings;

const parsers: Readonly<Record<PackedMethod, Parser>> = {
  gptq: parseGptq,
  awq: parseAwq,
  'compressed-tensors': parseCompressedTensors,
  fp8: parseFp8,
};

/** Modules that a config may list by name. */
const MAX_NAMES = 16_384;

/** Files of older checkpoints that say the same beside config.json, and whose they are unless they say so. As vLLM reads them. */
const ownFiles: Readonly<Record<string, PackedMethod>> = { 'quantize_config.json': 'gptq', 'quant_config.json': 'awq' };
const codes: JsonCodes = { syntax: 'CF_JSON', utf8: 'CF_JSON', duplicate: 'CF_DUP', limit: 'CF_LIMIT' };

/**
 * Reads quantization_config of config.json, or where that has none, the file of its own that older checkpoints have; null where there
 * is neither. Fields that change what weights mean and that are not known here are errors.
 * @throws ModelFormatError CF_FIELD, CF_UNSUPPORTED, CF_JSON, CF_DUP, CF_LIMIT.
 */
export async function parseQuantization(
  config: ConfigFields,
  source: ModelSource,
  onNotice: NoticeListener,
): Promise<PackedWeights | null> {
  const fields = config.object('quantization_config');
  if (fields !== null) return parseMethod(fields, 'config.json', undefined, onNotice);
  for (const [file, method] of Object.entries(ownFiles)) {
    const members = await readJsonObject(source, file, codes);
    if (members !== null) return parseMethod(new ConfigFields(file, members), file, method, onNotice);
  }
  return null;
}

function parseMethod(
  fields: ConfigFields,
  file: string,
  fallback: PackedMethod | undefined,
  onNotice: NoticeListener,
): PackedWeights {
  const methods = Object.fromEntries(packedMethods.map(method => [method, method]));
  const method = fields.choice('quant_method', methods, fallback, 'CF_UNSUPPORTED') as PackedMethod;
  const toldBy = file === 'config.json' ? 'quantization_config in config.json' : file;
  return { ...parsers[method](fields, notice => onNotice(`${file}: ${notice}`)), toldBy };
}

function parseGptq(fields: ConfigFields, onNotice: NoticeListener): Settings {
  const bits = parseBits(fields, 'bits', [4, 8]);
  const group = parseGroup(fields, 'group_size');
  const formats = { gptq: 1, gptq_v2: 0 } as const;
  const format = fields.has('checkpoint_format') ? 'checkpoint_format' : 'format';
  const zeroOffset = fields.choice<0 | 1>(format, formats, 'gptq', 'CF_UNSUPPORTED');
  refuseOthers(fields, {
    is_marlin_format: [false],
    pack_dtype: ['int32'],
    rotation: [],
    adapter: [],
    lora: [],
    packing_format: [],
  });
  refuseOverrides(fields);
  const symmetric = fields.boolean('sym', true);
  if (fields.boolean('desc_act', false) && group !== 0) {
    onNotice('desc_act is true: matrices whose columns share scales out of order are held in 16 bits for each weight.');
  }
  if (bits === 8 && (group !== 0 || !symmetric)) onNotice(wide('GPTQ codes of 8 bits in groups, or with zero points,'));
  return {
    method: 'gptq',
    layout: 'gptq',
    codes: bits === 4 ? 'u4' : 'u8',
    group,
    blockRows: 0,
    symmetric,
    zeroOffset,
    ignored: parseNames(fields, 'modules_to_not_convert'),
  };
}

/** Rules that leave modules as they are need no reading: those have other tensors. Others change bits or groups. */
function refuseOverrides(fields: ConfigFields): void {
  const dynamic = fields.object('dynamic');
  const rule = dynamic?.names().find(name => !name.startsWith('-:'));
  if (rule === undefined) return;
  throw fields.bad('dynamic', 'rules that begin with "-:" alone', 'CF_UNSUPPORTED', `a rule ${showJson(rule)}`);
}

function parseAwq(fields: ConfigFields): Settings {
  parseBits(fields, fields.has('w_bit') ? 'w_bit' : 'bits', [4]);
  const version = fields.get('version') ?? 'gemm';
  if (typeof version !== 'string' || version.toLowerCase() !== 'gemm') {
    throw fields.bad('version', '"gemm"', 'CF_UNSUPPORTED');
  }
  if (!fields.boolean('zero_point', true)) throw fields.bad('zero_point', 'true', 'CF_UNSUPPORTED');
  refuseOthers(fields, { backend: ['autoawq'], checkpoint_format: ['gemm'], format: ['gemm'], packing_format: [] });
  return {
    method: 'awq',
    layout: 'awq',
    codes: 'u4',
    group: parseGroup(fields, fields.has('q_group_size') ? 'q_group_size' : 'group_size'),
    blockRows: 0,
    symmetric: false,
    zeroOffset: 0,
    ignored: parseNames(fields, 'modules_to_not_convert'),
  };
}

/** Formats of compressed-tensors that are read, and what a code may be in each. */
const compressedFormats = { 'pack-quantized': 'rows', 'int-quantized': 'bytes', 'float-quantized': 'bytes' } as const;

function parseCompressedTensors(fields: ConfigFields, onNotice: NoticeListener): Settings {
  const format = fields.choice<keyof typeof compressedFormats>(
    'format',
    { 'pack-quantized': 'pack-quantized', 'int-quantized': 'int-quantized', 'float-quantized': 'float-quantized' },
    undefined,
    'CF_UNSUPPORTED',
  );
  refuseOthers(fields, { kv_cache_scheme: [], transform_config: [] });
  refuseSparsity(fields);
  const groups = fields.object('config_groups');
  const names = groups?.names() ?? [];
  if (groups === null || names.length !== 1) {
    throw fields.bad('config_groups', 'one group', 'CF_UNSUPPORTED', `${names.length} groups`);
  }
  const scheme = groups.object(names[0]!);
  const weights = scheme?.object('weights');
  if (!scheme || !weights) throw groups.bad(names[0]!, 'an object with weights');
  refuseOthers(scheme, { output_activations: [], format: [format] });
  if (scheme.has('input_activations')) onNotice(unquantisedActivations);
  if (weights.boolean('dynamic', false)) throw weights.bad('dynamic', 'false', 'CF_UNSUPPORTED');
  const type = weights.choice('type', { int: 'int', float: 'float' } as const, 'int', 'CF_UNSUPPORTED');
  if ((type === 'float') !== (format === 'float-quantized')) {
    throw weights.bad('type', format === 'float-quantized' ? '"float"' : '"int"', 'CF_UNSUPPORTED');
  }
  const bits = parseBits(weights, 'num_bits', format === 'pack-quantized' ? [4, 8] : [8]);
  const { group, blockRows } = parseStrategy(weights, format);
  const symmetric = weights.boolean('symmetric', true);
  if (!symmetric && format !== 'pack-quantized') throw weights.bad('symmetric', 'true', 'CF_UNSUPPORTED');
  const codes = format === 'float-quantized' ? 'f8e4m3' : format === 'int-quantized' ? 'i8' : bits === 4 ? 'u4' : 'u8';
  if (codes === 'f8e4m3') onNotice(wide('Weights in fp8'));
  if (codes === 'u8' && (group !== 0 || !symmetric)) onNotice(wide('Codes of 8 bits in groups, or with zero points,'));
  return {
    method: 'compressed-tensors',
    layout: compressedFormats[format],
    codes,
    group,
    blockRows,
    symmetric,
    zeroOffset: 0,
    ignored: parseNames(fields, 'ignore').filter(name => !name.startsWith('re:')),
  };
}

function parseStrategy(weights: ConfigFields, format: keyof typeof compressedFormats) {
  const strategies = {
    'pack-quantized': { group: 'group', channel: 'channel' },
    'int-quantized': { channel: 'channel', tensor: 'tensor' },
    'float-quantized': { channel: 'channel', tensor: 'tensor', block: 'block' },
  } as const;
  const strategy = weights.choice<string>('strategy', strategies[format], undefined, 'CF_UNSUPPORTED');
  if (strategy === 'group') return { group: weights.integer('group_size', 1, MAX_SIZE), blockRows: 0 };
  if (strategy === 'block') return parseBlocks(weights, 'block_structure');
  return { group: 0, blockRows: 0 };
}

/** `sparsity_config` of a model that is not sparse says dense, or nothing. */
function refuseSparsity(fields: ConfigFields): void {
  const sparsity = fields.object('sparsity_config');
  if (sparsity !== null) refuseOthers(sparsity, { format: ['dense'] });
}

/** DeepSeek's and Qwen's blocks of 128 by 128, or one scale for a matrix. */
function parseFp8(fields: ConfigFields, onNotice: NoticeListener): Settings {
  fields.choice('activation_scheme', { dynamic: true, static: true }, 'dynamic', 'CF_UNSUPPORTED');
  refuseOthers(fields, { fmt: ['e4m3'], kv_cache_scheme: [] });
  const blocks = fields.has('weight_block_size')
    ? parseBlocks(fields, 'weight_block_size')
    : { group: 0, blockRows: 0 };
  onNotice(unquantisedActivations);
  onNotice(wide('Weights in fp8'));
  return {
    method: 'fp8',
    layout: 'bytes',
    codes: 'f8e4m3',
    ...blocks,
    symmetric: true,
    zeroOffset: 0,
    ignored: [...parseNames(fields, 'ignored_layers'), ...parseNames(fields, 'modules_to_not_convert')],
  };
}

const unquantisedActivations =
  'activations are scaled to 8 bits too. Here weights alone are in few bits; activations keep their dtype.';

function wide(what: string): string {
  return `${what} are held in 16 bits for each weight: there is no layout here that has them as they are.`;
}

function parseBits(fields: ConfigFields, name: string, known: readonly number[]): number {
  const bits = fields.get(name);
  if (typeof bits === 'number' && known.includes(bits)) return bits;
  throw fields.bad(name, known.join(' or '), 'CF_UNSUPPORTED');
}

/** -1, for a row, becomes 0. */
function parseGroup(fields: ConfigFields, name: string): number {
  const group = fields.integer(name, -1, MAX_SIZE);
  if (group === 0) throw fields.bad(name, '-1 or a number of columns');
  return Math.max(group, 0);
}

function parseBlocks(fields: ConfigFields, name: string): { group: number; blockRows: number } {
  const isSize = (size: number) => Number.isInteger(size) && size > 0 && size <= MAX_SIZE;
  const [blockRows, group] = fields.floats(name, 2, isSize, 'a number of rows or columns') as [number, number];
  return { group, blockRows };
}

/** A list of names, or none: each is compared with each module. */
function parseNames(fields: ConfigFields, name: string): string[] {
  const value = fields.get(name) ?? [];
  const isShort = Array.isArray(value) && value.length <= MAX_NAMES;
  if (isShort && value.every(item => typeof item === 'string')) return value as string[];
  throw fields.bad(name, `a list of at most ${MAX_NAMES} names of modules`);
}

/** Throws for fields that change the result, at another value than those that do not. */
function refuseOthers(fields: ConfigFields, neutral: Readonly<Record<string, readonly JsonValue[]>>): void {
  for (const [name, values] of Object.entries(neutral)) {
    const value = fields.get(name);
    const isEmpty = value instanceof Map && value.size === 0;
    if (!fields.has(name) || isEmpty || values.some(other => other === value)) continue;
    const expected = values.length === 0 ? 'no such field' : values.map(showJson).join(' or ');
    throw fields.bad(name, `${expected}, or null`, 'CF_UNSUPPORTED');
  }
}
