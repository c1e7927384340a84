import { ModelFormatError } from '../errors.ts';
import { type JsonValue, showJson } from '../weights/json-tree.ts';
import { flattenSequence, unsupported } from './component.ts';
import { JsonFields } from './json-fields.ts';
import type { Affixes } from './tokenizer-spec.ts';

const known = 'TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing, Sequence';
const none: Affixes = { prefix: [], suffix: [] };

/** Reads `post_processor` of tokenizer.json: the ids that go around one sequence. `isId` tells whether an id is in use. */
export function readAffixes(root: JsonFields, isId: (id: number) => boolean): Affixes {
  const components = flattenSequence(root, 'post_processor', 'processors');
  const wrap = (inner: Affixes, fields: JsonFields): Affixes => {
    const outer = readOne(fields);
    for (const id of [...outer.prefix, ...outer.suffix]) if (!isId(id)) throw badSpecial(fields, `id ${id}`);
    return { prefix: [...outer.prefix, ...inner.prefix], suffix: [...inner.suffix, ...outer.suffix] };
  };
  return components.reduce(wrap, none);
}

function readOne(fields: JsonFields): Affixes {
  switch (fields.string('type')) {
    case 'ByteLevel':
      return none;
    case 'TemplateProcessing':
      return readTemplate(fields);
    case 'BertProcessing':
    case 'RobertaProcessing':
      return { prefix: [readPair(fields, 'cls')], suffix: [readPair(fields, 'sep')] };
    default:
      throw unsupported('TOKENIZER_UNSUPPORTED_POST_PROCESSOR', fields, known);
  }
}

function readTemplate(fields: JsonFields): Affixes {
  const prefix: number[] = [];
  const suffix: number[] = [];
  let sequences = 0;
  fields.array('single').forEach((value, i) => {
    const item = new JsonFields(fields.file, fields.pathOf(`single[${i}]`), value);
    if (item.has('Sequence')) sequences++;
    else (sequences === 0 ? prefix : suffix).push(...readSpecial(fields, item.object('SpecialToken').string('id')));
  });
  if (sequences === 1) return { prefix, suffix };
  const details = {
    file: fields.file,
    field: fields.pathOf('single'),
    found: `${sequences} sequences`,
    expected: 'one',
  };
  throw new ModelFormatError(
    'TOKENIZER_POST_PROCESSOR',
    'the template of a single text must hold the text once',
    details,
  );
}

function readSpecial(fields: JsonFields, name: string): number[] {
  const table = fields.object('special_tokens');
  if (!table.has(name)) throw badSpecial(fields, showJson(name));
  return table
    .object(name)
    .array('ids')
    .map(id => asId(fields, id));
}

/** `["</s>", 2]`. */
function readPair(fields: JsonFields, name: string): number {
  return asId(fields, fields.array(name)[1]);
}

function asId(fields: JsonFields, value: JsonValue | undefined): number {
  if (typeof value === 'number') return value;
  throw badSpecial(fields, showJson(value));
}

function badSpecial(fields: JsonFields, found: string): ModelFormatError {
  const details = { file: fields.file, field: fields.path, found, expected: 'special tokens of this vocabulary' };
  return new ModelFormatError('TOKENIZER_POST_PROCESSOR', 'the post-processor adds a token that is not known', details);
}
