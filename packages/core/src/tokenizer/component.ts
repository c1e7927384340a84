import { ModelFormatError } from '../errors.ts';
import { showJson } from '../weights/json-tree.ts';
import { JsonFields } from './json-fields.ts';

/** Sequences in sequences, at most. */
const MAX_DEPTH = 16;
const MAX_COMPONENTS = 256;

/** The components of a field of tokenizer.json in order, with every `Sequence` replaced by what it holds. Empty for null. */
export function flattenSequence(root: JsonFields, field: string, listName: string): JsonFields[] {
  if (!root.has(field)) return [];
  const components: JsonFields[] = [];
  collect(root.object(field), listName, 0, components);
  return components;
}

function collect(fields: JsonFields, listName: string, depth: number, components: JsonFields[]): void {
  if (depth > MAX_DEPTH || components.length > MAX_COMPONENTS) {
    const expected = `at most ${MAX_DEPTH} levels and ${MAX_COMPONENTS} components`;
    throw new ModelFormatError('TOKENIZER_TOO_DEEP', 'sequences are nested too deep', {
      file: fields.file,
      field: fields.path,
      expected,
    });
  }
  if (fields.string('type') !== 'Sequence') {
    components.push(fields);
    return;
  }
  fields.array(listName).forEach((value, i) => {
    collect(new JsonFields(fields.file, fields.pathOf(`${listName}[${i}]`), value), listName, depth + 1, components);
  });
}

/** The error for a component, or a value in it, that Quire does not do. */
export function unsupported(code: string, fields: JsonFields, expected: string, name = 'type'): ModelFormatError {
  const found = showJson(fields.raw(name));
  return new ModelFormatError(code, 'this is not supported', {
    file: fields.file,
    field: fields.pathOf(name),
    found,
    expected,
  });
}
