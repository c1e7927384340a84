/** For threads that match grammars: see GrammarPort. */
export type { GrammarAnswer, GrammarPort, GrammarQuestion } from './grammar-messages.ts';
export { GrammarServer } from './grammar-server.ts';
