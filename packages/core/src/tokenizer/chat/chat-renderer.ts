import { InvalidRequestError, QuireError } from '../../errors.ts';
import type { SpecialTokens } from '../tokenizer-spec.ts';
import type { ChatMessage, ChatTemplateFacts, ChatTemplateOptions } from '../types.ts';
import { TemplateBudget } from './budget.ts';
import { ChatTemplate } from './chat-template.ts';
import { cutAfterFinalMessage } from './final-message.ts';
import { GuardedInterpreter } from './interpreter.ts';
import { type MarkedText, Marks } from './marks.ts';
import { Provenance } from './provenance.ts';
import { checkKwargs, markMessage, markValue, RequestValues } from './request-values.ts';
import { builtInNames, createEnvironment } from './template-environment.ts';
import type { ChatTemplates } from './template-files.ts';

const MAX_ERROR = 300;
/** Templates that are kept parsed: the model's, and one that a caller brings. */
const MAX_PARSED = 3;
/** Arguments of the renderer that requests have fields for, or that are not theirs to give. */
const moreOwnNames = ['continue_final_message', 'chat_template', 'tokenize', 'tool_choice'];

/** Renders conversations with a model's chat template. */
export class ChatRenderer {
  readonly #templates: ChatTemplates;
  readonly #special: SpecialTokens;
  /** The templates used last, parsed, by their source. */
  readonly #parsed = new Map<string, ChatTemplate>();
  #facts: ChatTemplateFacts | null = null;

  constructor(templates: ChatTemplates, special: SpecialTokens) {
    this.#templates = templates;
    this.#special = special;
  }

  get hasTemplate(): boolean {
    return this.#templates.main !== null;
  }

  get facts(): ChatTemplateFacts | null {
    this.#facts ??= this.#findFacts();
    return this.#facts;
  }

  #findFacts(): ChatTemplateFacts | null {
    const { main, toolUse } = this.#templates;
    if (main === null) return null;
    const names = [main, toolUse ?? main].flatMap(source => [...this.#namesIn(source)]);
    return { source: toolUse ?? main, names: new Set(names) };
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
    const rendered = guardErrors(() => this.#run(messages, addGenerationPrompt, options));
    return continueFinalMessage ? cutAfterFinalMessage(rendered, messages) : rendered;
  }

  #templateOf(options: ChatTemplateOptions): ChatTemplate {
    const { main, toolUse } = this.#templates;
    const source = options.chatTemplate ?? (options.tools === undefined ? main : (toolUse ?? main));
    if (source === null) {
      throw new InvalidRequestError(
        'This model has no chat template. Send a plain prompt, or start with a chat template.',
        'messages',
        'no_chat_template',
      );
    }
    return this.#parse(source);
  }

  #parse(source: string): ChatTemplate {
    const known = this.#parsed.get(source);
    if (known !== undefined) return known;
    const template = new ChatTemplate(source);
    if (this.#parsed.size === MAX_PARSED) this.#parsed.clear();
    this.#parsed.set(source, template);
    return template;
  }

  /** Requests to a template that cannot be parsed fail one by one. */
  #namesIn(source: string): ReadonlySet<string> {
    try {
      return this.#parse(source).names;
    } catch {
      return new Set();
    }
  }

  #run(messages: readonly ChatMessage[], addGenerationPrompt: boolean, options: ChatTemplateOptions): MarkedText {
    const template = this.#templateOf(options);
    const { tools, chatTemplateKwargs = {} } = options;
    const values = new RequestValues(messages, options);
    const texts = messages.flatMap(message => [message.role, message.content, message.name ?? '']);
    const specials = [...this.#special.byRole.values(), ...this.#special.additional];
    const marks = new Marks([...template.literals, ...texts, ...values.texts, ...specials], template.names);
    const length = texts.reduce((sum, text) => sum + text.length, template.source.length + values.length);
    const variables = new Map<string, unknown>([
      ...this.#special.byRole,
      ['additional_special_tokens', this.#special.additional],
      ['messages', messages.map(message => markMessage(message, marks))],
      ['add_generation_prompt', addGenerationPrompt],
      ['tools', tools === undefined ? null : markValue(tools, marks)],
      ['documents', null],
    ]);
    checkKwargs(chatTemplateKwargs, new Set([...variables.keys(), ...builtInNames, ...moreOwnNames]));
    for (const [name, value] of Object.entries(chatTemplateKwargs)) variables.set(name, markValue(value, marks));
    const environment = createEnvironment(variables, marks);
    const budget = new TemplateBudget(length, messages.length + values.containers);
    const interpreter = new GuardedInterpreter(environment, budget, new Provenance(marks));
    return marks.resolve(String(interpreter.run(template.program).value));
  }
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
