import { ModelFormatError } from '../errors.ts';
import { type JsonCodes, readJson, readJsonObject } from '../weights/json-file.ts';
import { type JsonValue, showJson } from '../weights/json-tree.ts';
import type { ModelSource } from '../weights/types.ts';
import type { PoolingConfig } from './config.ts';
import { ConfigFields } from './config-fields.ts';

const MODULES = 'modules.json';
const TYPES = 'sentence_transformers.models.';
const codes: JsonCodes = { syntax: 'CF_JSON', utf8: 'CF_JSON', duplicate: 'CF_DUP', limit: 'CF_LIMIT' };

/** vLLM's pooler of a decoder that says nothing: the last token, normalised. */
export const lastToken: PoolingConfig = { type: 'last', normalize: true, dimensions: null };

/**
 * How a folder of sentence-transformers makes one vector of a text: modules.json names the steps behind the decoder, and the folder
 * of the pooling step says which one. null: the folder has no modules.json, and is no embedding model.
 * @throws ModelFormatError with a code CF_*, for steps that are not done here among others.
 */
export async function readPooling(source: ModelSource): Promise<Omit<PoolingConfig, 'dimensions'> | null> {
  const root = await readJson(source, MODULES, codes);
  if (root === undefined) return null;
  const modules = Array.isArray(root) ? root.map(parseModule) : [];
  const [transformer, pooling, normalize, ...others] = modules;
  if (transformer?.type !== 'Transformer' || transformer.path !== '') {
    throw unsupported(modules.slice(0, 1), 'first a Transformer in the model folder itself');
  }
  const isNormalised = normalize?.type === 'Normalize';
  if (pooling?.type !== 'Pooling') throw unsupported(modules.slice(1, 2), 'a Pooling step behind the Transformer');
  const rest = isNormalised ? others : modules.slice(2);
  if (rest.length > 0) throw unsupported(rest, 'nothing but Normalize behind the Pooling step');
  return { type: await poolingType(source, `${pooling.path}/config.json`), normalize: isNormalised };
}

interface Module {
  readonly type: string;
  readonly path: string;
}

function parseModule(value: JsonValue): Module {
  const [type, path] = value instanceof Map ? [value.get('type'), value.get('path')] : [];
  if (typeof type !== 'string' || typeof path !== 'string') {
    throw new ModelFormatError('CF_FIELD', 'this is no module of sentence-transformers', {
      file: MODULES,
      found: showJson(value),
      expected: 'an object with a type and a path',
    });
  }
  return { type: type.startsWith(TYPES) ? type.slice(TYPES.length) : type, path };
}

function unsupported(modules: readonly Module[], expected: string): ModelFormatError {
  const found = modules.length === 0 ? 'no such step' : modules.map(({ type, path }) => `${type} "${path}"`).join(', ');
  return new ModelFormatError('CF_UNSUPPORTED', 'the steps of this embedding model are not supported', {
    file: MODULES,
    found,
    expected,
  });
}

async function poolingType(source: ModelSource, file: string): Promise<PoolingConfig['type']> {
  const members = await readJsonObject(source, file, codes);
  if (members === null) {
    throw new ModelFormatError('CF_MISSING', 'the file is missing', {
      file,
      expected: 'the way in which tokens are pooled',
    });
  }
  const fields = new ConfigFields(file, members);
  const asked = [...members.keys()].filter(name => name.startsWith('pooling_mode_') && fields.boolean(name, false));
  if (asked.length === 1 && asked[0] === 'pooling_mode_lasttoken') return 'last';
  if (asked.length === 1 && asked[0] === 'pooling_mode_mean_tokens') return 'mean';
  throw new ModelFormatError('CF_UNSUPPORTED', 'this way of pooling is not supported', {
    file,
    found: asked.length === 0 ? 'none' : asked.join(', '),
    expected: 'one of pooling_mode_lasttoken and pooling_mode_mean_tokens',
  });
}

/** Lengths to which embeddings may be cut (Kusupati et al. 2022), where config.json lists them. */
export function parseDimensions(fields: ConfigFields, width: number): readonly number[] | null {
  if (!fields.has('matryoshka_dimensions')) return null;
  const value = fields.get('matryoshka_dimensions');
  const isLength = (length: JsonValue): length is number =>
    typeof length === 'number' && length >= 1 && length <= width;
  if (Array.isArray(value) && value.length > 0 && value.every(isLength)) return value;
  throw fields.bad('matryoshka_dimensions', `a list of lengths from 1 to ${width}`);
}
