import { ModelFormatError } from '../../errors.ts';
import { showJson } from '../../weights/json-tree.ts';
import type { TokenizerFiles } from '../files.ts';
import { JsonFields } from '../json-fields.ts';

/** The chat templates of a model. */
export interface ChatTemplates {
  /** null: there is none. */
  readonly main: string | null;
  /** For conversations with tools, where there is one of its own. */
  readonly toolUse?: string;
}

/**
 * The chat templates of a model folder: chat_template.jinja, else `chat_template` of tokenizer_config.json, else that of
 * chat_template.json. Of several named templates, `default` is taken, and `tool_use` where there are tools.
 */
export async function readChatTemplates(files: TokenizerFiles, config: JsonFields): Promise<ChatTemplates> {
  if (files.has('chat_template.jinja')) return { main: await files.readText('chat_template.jinja') };
  if (config.has('chat_template')) return readField(config);
  const file = await files.readConfig('chat_template.json');
  return file.has('chat_template') ? readField(file) : { main: null };
}

function readField(fields: JsonFields): ChatTemplates {
  const isNamed = Array.isArray(fields.raw('chat_template'));
  return isNamed ? chooseNamed(fields) : { main: fields.string('chat_template') };
}

function chooseNamed(fields: JsonFields): ChatTemplates {
  const templates = new Map<string, string>();
  fields.array('chat_template').forEach((value, i) => {
    const entry = new JsonFields(fields.file, fields.pathOf(`chat_template[${i}]`), value);
    const name = entry.string('name');
    if (templates.has(name)) throw templateError(fields, `the name ${showJson(name)} twice`, 'every name once');
    templates.set(name, entry.string('template'));
  });
  const chosen = templates.get('default') ?? (templates.size === 1 ? [...templates.values()][0] : undefined);
  if (chosen === undefined)
    throw templateError(fields, [...templates.keys()].join(', ') || 'no templates', 'one named default');
  const toolUse = templates.get('tool_use');
  return toolUse === undefined ? { main: chosen } : { main: chosen, toolUse };
}

function templateError(fields: JsonFields, found: string, expected: string): ModelFormatError {
  const details = { file: fields.file, field: fields.pathOf('chat_template'), found, expected };
  return new ModelFormatError('TOKENIZER_CHAT_TEMPLATE', 'the named chat templates are not usable', details);
}
