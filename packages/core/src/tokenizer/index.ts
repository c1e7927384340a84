export { hasTokenizer, loadTokenizer } from './load-tokenizer.ts';
export { type StopMatch, StopStringMatcher } from './stop-strings.ts';
export type {
  ChatMessage,
  ChatTemplateFacts,
  ChatTemplateOptions,
  ChatToolCall,
  Detokenizer,
  EncodeOptions,
  Tokenizer,
} from './types.ts';
