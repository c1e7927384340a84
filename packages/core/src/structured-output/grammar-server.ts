import type { GrammarAnswer, GrammarQuestion, GrammarVocabulary } from './grammar-messages.ts';
import { type LoadedXGrammar, loadXGrammar, type XGrammar } from './xgrammar.ts';

type Advance = Extract<GrammarQuestion, { kind: 'advance' }>;

/** Grammars that are kept compiled while no session uses them. */
const MAX_COMPILED = 64;

/**
 * The thread's side: answers questions one after another. A question that the library fails on is its last, for WebAssembly that
 * was aborted or ran out of its stack has lost its state.
 */
export class GrammarServer {
  readonly #post: (answer: GrammarAnswer) => void;
  readonly #compiled = new Map<string, XGrammar.CompiledGrammar>();
  readonly #matchers = new Map<number, XGrammar.GrammarMatcher>();
  #loaded: LoadedXGrammar | null = null;
  #compiler: XGrammar.GrammarCompiler | null = null;
  #stopTokenIds: readonly number[] = [];
  #last: Promise<void> = Promise.resolve();

  constructor(post: (answer: GrammarAnswer) => void) {
    this.#post = post;
  }

  ask(question: GrammarQuestion): void {
    this.#last = this.#last.then(() => this.#answer(question));
  }

  async #answer(question: GrammarQuestion): Promise<void> {
    if (question.kind === 'close') return this.#close(question.session);
    const { id } = question;
    try {
      if (question.kind === 'open') {
        await this.#open(question.vocabulary);
        this.#post({ kind: 'ok', id, mask: new Uint32Array(0), isOver: false });
      } else {
        this.#post({ kind: 'ok', id, ...(await this.#advance(question)) });
      }
    } catch (error) {
      this.#post({ kind: 'failed', id, problem: this.#describe(error) });
    }
  }

  async #open({ tokens, stopTokenIds }: GrammarVocabulary): Promise<void> {
    this.#loaded = await loadXGrammar();
    const { TokenizerInfo, GrammarCompiler } = this.#loaded.library;
    const stops = [...stopTokenIds];
    const info = await TokenizerInfo.createTokenizerInfo([...tokens], 'byte_level', false, tokens.length, stops);
    this.#compiler = await GrammarCompiler.createGrammarCompiler(info, false);
    this.#stopTokenIds = stops;
  }

  async #advance({ session, grammar, have, tokens }: Advance): Promise<{ mask: Uint32Array; isOver: boolean }> {
    const matcher = have === 0 ? await this.#start(session, grammar) : this.#matchers.get(session);
    if (matcher === undefined) throw new Error(`Session ${session} was not begun.`);
    for (const token of tokens) {
      if (!matcher.acceptToken(token)) throw new Error(`Token ${token} does not match the grammar.`);
    }
    // Without a token that ends the text, it ends as soon as nothing may follow.
    if (matcher.isTerminated()) return { mask: new Uint32Array(0), isOver: true };
    return { mask: Uint32Array.from(await matcher.getNextTokenBitmask()), isOver: false };
  }

  async #start(session: number, grammar: string): Promise<XGrammar.GrammarMatcher> {
    this.#close(session);
    const stops = [...this.#stopTokenIds];
    const { GrammarMatcher } = this.#loaded!.library;
    const compiled = await this.#compile(grammar);
    const matcher = await GrammarMatcher.createGrammarMatcher(compiled, stops, stops.length === 0);
    this.#matchers.set(session, matcher);
    return matcher;
  }

  /** The least recently used grammar makes room; matchers keep what they need of it. */
  async #compile(grammar: string): Promise<XGrammar.CompiledGrammar> {
    const known = this.#compiled.get(grammar);
    if (known !== undefined) this.#compiled.delete(grammar);
    const compiled = known ?? (await this.#compileNew(grammar));
    this.#compiled.set(grammar, compiled);
    const [oldest] = this.#compiled;
    if (this.#compiled.size > MAX_COMPILED && oldest !== undefined) {
      oldest[1].dispose();
      this.#compiled.delete(oldest[0]);
    }
    return compiled;
  }

  async #compileNew(text: string): Promise<XGrammar.CompiledGrammar> {
    const grammar = await this.#loaded!.library.Grammar.fromEBNF(text);
    try {
      return await this.#compiler!.compileGrammar(grammar);
    } finally {
      grammar.dispose();
    }
  }

  #close(session: number): void {
    this.#matchers.get(session)?.dispose();
    this.#matchers.delete(session);
  }

  /** The library's own words where it left some: `EBNF parser error at line 1, column 11: ...`. */
  #describe(error: unknown): string {
    const said = this.#loaded?.takeMessages().split('\n') ?? [];
    const fatal = said.find(line => line.startsWith('[FATAL]'))?.replace(/^\[FATAL\] \S+ /, '');
    return fatal ?? (error instanceof Error ? error.message : String(error));
  }
}
