import { EngineError } from '../errors.ts';
import type { GrammarAnswer, GrammarPort, GrammarQuestion, GrammarVocabulary } from './grammar-messages.ts';

type Answered = Extract<GrammarAnswer, { kind: 'ok' }>;
export type Advance = Omit<Extract<GrammarQuestion, { kind: 'advance' }>, 'kind' | 'id'>;

/** The thread failed on this very question, or took too long for it. */
export class GrammarThreadError extends Error {
  override readonly name = 'GrammarThreadError';
}

/** The thread was ended because of another question: this one may be asked again. */
export class GrammarThreadLost extends Error {
  override readonly name = 'GrammarThreadLost';
}

/** No thread can be started: the request is not to blame. */
export class GrammarUnavailableError extends EngineError {
  constructor(problem: string) {
    super(`The thread that matches grammars cannot be started: ${problem}`);
  }
}

/** Longest time until a thread has loaded the library and the vocabulary. */
const START_MS = 60_000;
/**
 * A budget is spent in so many parts, one after another. What holds this thread up is one part at most: an answer that came meanwhile is
 * read before the next, and a process that was stopped has not computed.
 */
const PARTS = 10;

interface Pending {
  readonly question: GrammarQuestion['kind'];
  readonly resolve: (answer: Answered) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A thread that matches grammars, opened by the first question. It answers in order, so when nothing came for `budgetMs` the
 * oldest question is to blame. A question that fails ends the thread, with all of its sessions; the next one opens another.
 */
export class GrammarThread {
  /** Counts the threads that were opened: a session of an earlier one has to be begun again. */
  generation = 0;
  readonly #open: () => GrammarPort;
  readonly #vocabulary: () => GrammarVocabulary;
  readonly #budgetMs: number;
  readonly #pending = new Map<number, Pending>();
  #port: GrammarPort | null = null;
  #timer: ReturnType<typeof setInterval> | null = null;
  #numQuestions = 0;

  constructor(open: () => GrammarPort, vocabulary: () => GrammarVocabulary, budgetMs: number) {
    this.#open = open;
    this.#vocabulary = vocabulary;
    this.#budgetMs = budgetMs;
  }

  /** Opens a thread unless there is one. Call it before `generation` is read for a question. */
  start(): void {
    if (this.#port !== null) return;
    const port = this.#open();
    this.#port = port;
    this.generation++;
    port.listen(
      answer => this.#port === port && this.#take(answer),
      reason => this.#port === port && this.#fail(this.#oldest(), `its thread ended: ${reason}`),
    );
    this.#ask('open', id => ({ kind: 'open', id, vocabulary: this.#vocabulary() })).catch(() => {});
  }

  /** Rejects with GrammarThreadError, GrammarThreadLost or GrammarUnavailableError. */
  advance(question: Advance): Promise<Answered> {
    this.start();
    return this.#ask('advance', id => ({ kind: 'advance', id, ...question }));
  }

  closeSession(session: number): void {
    this.#port?.post({ kind: 'close', session });
  }

  /** Questions that are still open stay without an answer. */
  async dispose(): Promise<void> {
    this.#stopTimer();
    this.#pending.clear();
    const port = this.#port;
    this.#port = null;
    await port?.close();
  }

  #ask(kind: GrammarQuestion['kind'], question: (id: number) => GrammarQuestion): Promise<Answered> {
    const id = this.#numQuestions++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { question: kind, resolve, reject });
      this.#timer ??= this.#startTimer();
      this.#port!.post(question(id));
    });
  }

  #take(answer: GrammarAnswer): void {
    if (answer.kind === 'failed') {
      this.#fail(answer.id, answer.problem);
      return;
    }
    const pending = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    this.#stopTimer();
    if (this.#pending.size > 0) this.#timer = this.#startTimer();
    pending?.resolve(answer);
  }

  #startTimer(): ReturnType<typeof setInterval> {
    const oldest = this.#oldest();
    const isStarting = oldest !== undefined && this.#pending.get(oldest)?.question === 'open';
    const budget = isStarting ? START_MS : this.#budgetMs;
    let left = PARTS;
    return setInterval(() => {
      if (--left === 0) this.#fail(this.#oldest(), `it takes more than ${budget / 1000} s`);
    }, budget / PARTS);
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #oldest(): number | undefined {
    return this.#pending.keys().next().value;
  }

  /** A thread that cannot even be started fails all questions, so that they are not asked again and again. */
  #fail(culprit: number | undefined, problem: string): void {
    const lost = [...this.#pending];
    const fatal = lost.some(([id, { question }]) => id === culprit && question === 'open');
    void this.dispose();
    for (const [id, { reject }] of lost) {
      if (fatal) reject(new GrammarUnavailableError(problem));
      else reject(id === culprit ? new GrammarThreadError(problem) : new GrammarThreadLost(problem));
    }
  }
}
