import type { JsonValue } from '../weights/json-tree.ts';
import { JsonFields } from './json-fields.ts';
import type { SpecialTokens } from './tokenizer-spec.ts';

const roles = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/** Reads the tokens that have a role; of several files, the first that names a role wins. */
export function readSpecialTokens(files: readonly JsonFields[]): SpecialTokens {
  const byRole = new Map<string, string>();
  for (const role of roles) {
    const file = files.find(fields => fields.has(role));
    if (file !== undefined) byRole.set(role, readContent(file, role, file.raw(role)));
  }
  const list = files.find(fields => Array.isArray(fields.raw('additional_special_tokens')));
  const values = list?.array('additional_special_tokens') ?? [];
  return { byRole, additional: values.map((value, i) => readContent(list!, `additional_special_tokens[${i}]`, value)) };
}

/** A token is written as its content, or as an object with a `content`. */
function readContent(fields: JsonFields, name: string, value: JsonValue | undefined): string {
  const holder = value instanceof Map ? new JsonFields(fields.file, fields.pathOf(name), value) : null;
  if (holder !== null) return holder.string('content');
  return new JsonFields(fields.file, '', new Map([[name, value ?? null]])).string(name);
}
