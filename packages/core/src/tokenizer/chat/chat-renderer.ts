import { InvalidRequestError, QuireError } from '../../errors.ts';
import type { SpecialTokens } from '../tokenizer-spec.ts';
import type { ChatMessage, ChatTemplateOptions } from '../types.ts';
import { TemplateBudget } from './budget.ts';
import { ChatTemplate } from './chat-template.ts';
import { cutAfterFinalMessage } from './final-message.ts';
import { GuardedInterpreter } from './interpreter.ts';
import { type MarkedText, Marks } from './marks.ts';
import { Provenance } from './provenance.ts';
import { createEnvironment } from './template-environment.ts';

const MAX_ERROR = 300;

/** Renders conversations with a model's chat template. */
export class ChatRenderer {
  readonly #source: string | null;
  readonly #special: SpecialTokens;
  /** The template used last, parsed. */
  #template: ChatTemplate | null = null;

  constructor(source: string | null, special: SpecialTokens) {
    this.#source = source;
    this.#special = special;
  }

  get hasTemplate(): boolean {
    return this.#source !== null;
  }

  /** The rendered text, and which ranges of it are text of the messages. Throws InvalidRequestError. */
  render(messages: readonly ChatMessage[], options: ChatTemplateOptions): MarkedText {
    const { continueFinalMessage = false, addGenerationPrompt = !continueFinalMessage } = options;
    checkMessages(messages);
    if (continueFinalMessage && addGenerationPrompt) {
      throw new InvalidRequestError(
        'continue_final_message and add_generation_prompt exclude each other. Set one of them.',
        'continue_final_message',
      );
    }
    const rendered = guardErrors(() => this.#run(this.#templateOf(options), messages, addGenerationPrompt));
    return continueFinalMessage ? cutAfterFinalMessage(rendered, messages) : rendered;
  }

  #templateOf(options: ChatTemplateOptions): ChatTemplate {
    const source = options.chatTemplate ?? this.#source;
    if (source === null) {
      throw new InvalidRequestError(
        'This model has no chat template. Send a plain prompt, or start with a chat template.',
        'messages',
        'no_chat_template',
      );
    }
    if (this.#template?.source !== source) this.#template = new ChatTemplate(source);
    return this.#template;
  }

  #run(template: ChatTemplate, messages: readonly ChatMessage[], addGenerationPrompt: boolean): MarkedText {
    const texts = messages.flatMap(message => [message.role, message.content, message.name ?? '']);
    const marks = new Marks([
      ...template.literals,
      ...texts,
      ...this.#special.byRole.values(),
      ...this.#special.additional,
    ]);
    const length = texts.reduce((sum, text) => sum + text.length, template.source.length);
    const variables = new Map<string, unknown>([
      ...this.#special.byRole,
      ['additional_special_tokens', this.#special.additional],
      ['messages', messages.map(message => markMessage(message, marks))],
      ['add_generation_prompt', addGenerationPrompt],
      ['tools', null],
      ['documents', null],
    ]);
    const environment = createEnvironment(variables, marks);
    const interpreter = new GuardedInterpreter(
      environment,
      new TemplateBudget(length, messages.length),
      new Provenance(marks),
    );
    return marks.resolve(String(interpreter.run(template.program).value));
  }
}

function markMessage(message: ChatMessage, marks: Marks): Record<string, string> {
  const marked = { role: marks.markRole(message.role), content: marks.mark(message.content) };
  return message.name === undefined ? marked : { ...marked, name: marks.mark(message.name) };
}

function checkMessages(messages: readonly ChatMessage[]): void {
  messages.forEach((message, i) => {
    if (typeof message.role !== 'string')
      throw new InvalidRequestError(`messages[${i}].role is not a string.`, 'messages');
    if (typeof message.content !== 'string')
      throw new InvalidRequestError(`messages[${i}].content is not a string.`, 'messages');
  });
}

/** Errors of the template library have no type; whatever a template does, the request fails and nothing else. */
function guardErrors<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof QuireError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    const text = reason.length > MAX_ERROR ? `${reason.slice(0, MAX_ERROR)}...` : reason;
    throw new InvalidRequestError(
      `The model's chat template cannot be run on these messages: ${text}.`,
      'messages',
      'chat_template_failed',
    );
  }
}
