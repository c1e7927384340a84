import {
  BATCH_WORDS,
  Batch,
  BatchHeader,
  DELTA_HEADER_WORDS,
  DELTA_SEGMENT_WORDS,
  DeltaTarget,
  MASKED_LOGIT,
  NO_THRESHOLD,
  NONE,
  ROW_WORDS,
  Row,
  SAMPLE_FINITE,
  SAMPLE_LIVE,
  SAMPLE_WORDS,
  Sample,
  SEQUENCE_WORDS,
  Sequence,
} from '@quire/core/contract';
import { fragments, shaders } from './shaders.gen.ts';

export type ShaderName = keyof typeof shaders;
export type FragmentName = keyof typeof fragments;

export interface BindingInfo {
  readonly index: number;
  readonly name: string;
  readonly access: 'read' | 'read_write' | 'uniform';
  readonly type: string;
}
export interface ParamInfo {
  readonly name: string;
  readonly type: 'u32' | 'i32' | 'f32';
}
interface FragmentInfo {
  readonly uses: readonly FragmentName[];
  readonly enables: readonly string[];
  readonly directives: readonly string[];
  readonly consts: Readonly<Record<string, number>>;
  readonly source: string;
}
export interface ShaderInfo extends FragmentInfo {
  readonly bindings: readonly BindingInfo[];
  readonly fragments: Readonly<Record<string, readonly FragmentName[]>>;
  readonly params: readonly ParamInfo[];
}

/** One way to build a shader: which fragments fill its slots, and the values of its constants. */
export interface ShaderVariant {
  readonly shader: ShaderName;
  readonly fragments: Readonly<Record<string, FragmentName>>;
  readonly consts: Readonly<Record<string, number>>;
}

export function shaderInfo(name: ShaderName): ShaderInfo {
  return shaders[name];
}

/** Shader and fragments without the constants: `linear/tile[lanes_one,weights_f16]`. */
export function variantName(variant: ShaderVariant): string {
  const chosen = Object.values(variant.fragments);
  return chosen.length === 0 ? variant.shader : `${variant.shader}[${chosen.join(',')}]`;
}

/** Every variant that can be built, with the default constants. */
export function shaderVariants(): ShaderVariant[] {
  return (Object.keys(shaders) as ShaderName[]).flatMap(shader => {
    let choices: Record<string, FragmentName>[] = [{}];
    for (const [slot, names] of Object.entries(shaderInfo(shader).fragments)) {
      choices = choices.flatMap(choice => names.map(name => ({ ...choice, [slot]: name })));
    }
    return choices.map(chosen => ({ shader, fragments: chosen, consts: {} }));
  });
}

/** WGSL extensions that a variant needs. */
export function variantEnables(variant: ShaderVariant): string[] {
  return [...new Set(linkedFragments(variant).flatMap(fragment => fragment.enables))];
}

/** The text of a variant: extensions and directives, the contract's constants, the variant's own, fragments, kernel. */
export function composeShader(variant: ShaderVariant): string {
  const linked = linkedFragments(variant);
  const defaults = Object.assign({}, ...linked.map(fragment => fragment.consts)) as Record<string, number>;
  const unknown = Object.keys(variant.consts).find(name => !(name in defaults));
  if (unknown !== undefined) throw new TypeError(`${variantName(variant)} has no constant ${unknown}.`);
  const consts = Object.entries({ ...defaults, ...variant.consts }).map(
    ([name, value]) => `const ${name} = ${value}u;`,
  );
  const enables = variantEnables(variant).map(name => `enable ${name};`);
  const directives = linked.flatMap(fragment => fragment.directives).map(text => `${text};`);
  return [...enables, ...directives, contractPrelude, ...consts, ...linked.map(fragment => fragment.source)].join('\n');
}

/** Chosen and used fragments, each once, then the kernel itself. */
function linkedFragments(variant: ShaderVariant): FragmentInfo[] {
  const linked = new Map<FragmentName, FragmentInfo>();
  const link = (name: FragmentName): void => {
    if (linked.has(name)) return;
    const fragment: FragmentInfo = fragments[name];
    linked.set(name, fragment);
    fragment.uses.forEach(link);
  };
  const info = shaderInfo(variant.shader);
  info.uses.forEach(link);
  Object.values(variant.fragments).forEach(link);
  return [...linked.values(), info];
}

/** The contract's word indices and marks, so that the numbers stand in contract.ts alone. */
export const contractPrelude = [
  ...wordConsts('ROW', Row),
  ...wordConsts('BATCH', Batch),
  ...wordConsts('HEADER', BatchHeader),
  ...wordConsts('SEQUENCE', Sequence),
  ...wordConsts('SAMPLE', Sample),
  ...wordConsts('TARGET', DeltaTarget),
  ...wordConsts('', { ROW_WORDS, BATCH_WORDS, SEQUENCE_WORDS, SAMPLE_WORDS, DELTA_HEADER_WORDS, DELTA_SEGMENT_WORDS }),
  ...wordConsts('', { NONE, FLAG_LIVE: SAMPLE_LIVE, FLAG_FINITE: SAMPLE_FINITE }),
  `const MASKED_LOGIT = ${MASKED_LOGIT}f;`,
  `const NO_THRESHOLD = ${NO_THRESHOLD}f;`,
].join('\n');

function wordConsts(prefix: string, words: Readonly<Record<string, number>>): string[] {
  return Object.entries(words).map(([name, value]) => {
    const upper = prefix === '' ? name : `${prefix}_${name.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase()}`;
    return `const ${upper} = ${value}u;`;
  });
}
