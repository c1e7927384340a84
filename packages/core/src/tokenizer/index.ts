export { hasTokenizer, loadTokenizer } from './load-tokenizer.ts';
export { type StopMatch, StopStringMatcher } from './stop-strings.ts';
export type { ChatMessage, ChatTemplateOptions, Detokenizer, EncodeOptions, Tokenizer } from './types.ts';
