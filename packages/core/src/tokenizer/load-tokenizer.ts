import type { ModelSource } from '../weights/types.ts';
import { ChatRenderer } from './chat/chat-renderer.ts';
import { readChatTemplates } from './chat/template-files.ts';
import { TokenizerFiles } from './files.ts';
import { ModelTokenizer } from './model-tokenizer.ts';
import { readSpec } from './read-spec.ts';
import type { Tokenizer } from './types.ts';

/** Whether a folder has a vocabulary, and so a tokenizer to load. */
export async function hasTokenizer(source: ModelSource): Promise<boolean> {
  const files = await TokenizerFiles.list(source);
  return files.has('tokenizer.json') || files.has('vocab.json');
}

/**
 * Loads the tokenizer of a model folder: tokenizer.json, or the older pair vocab.json and merges.txt, with tokenizer_config.json,
 * special_tokens_map.json, added_tokens.json and the chat template beside them, or the one given. Throws ModelFormatError (codes
 * TOKENIZER_*).
 */
export async function loadTokenizer(source: ModelSource, chatTemplate?: string): Promise<Tokenizer> {
  const files = await TokenizerFiles.list(source);
  const { spec, special, config } = await readSpec(files);
  const templates = chatTemplate === undefined ? await readChatTemplates(files, config) : { main: chatTemplate };
  return new ModelTokenizer(spec, special, new ChatRenderer(templates, special));
}
