import type { StructuredOutputs, ThinkingBudget } from '@quire/core';
import type { AppContext } from '../app/context.ts';
import { invalidField } from '../http/errors.ts';
import type { OutputParser } from './output-events.ts';
import { constraintBehind } from './reasoning/constraint-behind.ts';
import { reasoningStart, reasoningSyntaxes } from './reasoning/reasoning-formats.ts';
import { ReasoningParser, type ReasoningStart } from './reasoning/reasoning-parser.ts';
import { type ReasoningMarks, reasoningMarks } from './reasoning/reasoning-tokens.ts';
import type { Constraint } from './structured-fields.ts';
import { ToolCallParser } from './tools/tool-call-parser.ts';
import { toolCallSyntaxes } from './tools/tool-formats.ts';
import { callsFormat } from './tools/tool-grammar.ts';
import type { ToolRequest } from './tools/tool-request.ts';

/** Tokens at the end of a prompt that tell whether it opens the reasoning. */
const PROMPT_END = 16;

/**
 * How the text of a completion becomes a message: who finds its reasoning and its calls. Made of a request and the prompt that
 * it came to; other surfaces than chat use `createParser` and put the events into their own form.
 */
export class ChatOutput {
  readonly includeReasoning: boolean;
  /** Where completions begin, and the tokens that tell; null: this model's reasoning is not told apart. */
  readonly reasoning: { readonly start: ReasoningStart; readonly marks: ReasoningMarks | null } | null;
  readonly #features: AppContext['features'];
  readonly #tools: ToolRequest | null;

  constructor(
    app: AppContext,
    tools: ToolRequest | null,
    includeReasoning: boolean,
    promptTokenIds: readonly number[],
  ) {
    this.#features = app.features;
    this.#tools = tools;
    this.includeReasoning = includeReasoning;
    this.reasoning = null;
    if (app.features.reasoning === null) return;
    const syntax = reasoningSyntaxes[app.features.reasoning];
    const end = app.tokenizer.decode(promptTokenIds.slice(-PROMPT_END), { skipSpecialTokens: false });
    this.reasoning = { start: reasoningStart(syntax, end), marks: reasoningMarks(syntax, app.tokenizer) };
  }

  /** For one completion; null: all of its text is content. */
  createParser(): OutputParser | null {
    const calls = this.#callParser();
    if (this.reasoning === null || this.#features.reasoning === null) return calls;
    return new ReasoningParser(reasoningSyntaxes[this.#features.reasoning], this.reasoning.start, calls);
  }

  /** Texts that must not be left out of a completion although they may be special tokens. */
  get markers(): string[] {
    const { toolCalls, reasoning } = this.#features;
    const syntaxes: { begin: string; end: string | null; isBare?: boolean }[] = [];
    if (this.#findsCalls && toolCalls !== null) syntaxes.push(toolCallSyntaxes[toolCalls]);
    if (reasoning !== null) syntaxes.push(reasoningSyntaxes[reasoning]);
    return syntaxes.flatMap(({ begin, end, isBare }) => (isBare ? [] : [begin, end ?? begin]));
  }

  /** What the text must be: the calls that were asked for, or what the request says, and either behind the reasoning. */
  constrain(given: Constraint | null): Constraint | null {
    const constraint = this.#callConstraint() ?? given;
    const { reasoning } = this.#features;
    if (constraint === null || reasoning === null || this.reasoning === null) return constraint;
    return constraintBehind(constraint, reasoningSyntaxes[reasoning], this.reasoning.start);
  }

  /**
   * How long the model may reason, as the engine takes it; null for -1: as long as it likes. Throws HttpError 400 where its
   * reasoning is not told apart, or does not end with one token.
   */
  thinkingBudget(tokens: number): ThinkingBudget | null {
    if (tokens < 0) return null;
    const { start, marks = null } = this.reasoning ?? {};
    if (start === undefined || marks === null) {
      const why =
        start === undefined ? 'this server has no --reasoning-parser' : "its reasoning's end is no single token";
      throw invalidField(
        'thinking_token_budget',
        `thinking_token_budget cannot be kept for this model: ${why}.`,
        'unsupported_value',
      );
    }
    if (start === 'after') return null;
    const isOpen = start === 'inside' || marks.isImplied;
    return { tokens, beginTokenId: marks.begin ?? null, endTokenId: marks.end, isOpen };
  }

  /** OpenAI's reason, given the engine's and whether there were calls: a call that was asked for by its name is no reason. */
  finishReason(reason: string, hasCalls: boolean): string {
    const isReason = hasCalls && reason === 'stop' && this.#tools?.choice !== 'named';
    return isReason ? 'tool_calls' : reason;
  }

  get #findsCalls(): boolean {
    return this.#tools !== null && this.#tools.choice !== 'none';
  }

  get #format() {
    return this.#features.toolCalls ?? 'hermes';
  }

  #callParser(): ToolCallParser | null {
    if (this.#tools === null || !this.#findsCalls) return null;
    const { tools, parallel, choice } = this.#tools;
    const syntax = toolCallSyntaxes[this.#format];
    // Without a marker in front, an answer in JSON may look like a call.
    const names = syntax.isBare && choice === 'auto' ? new Set(tools.map(tool => tool.name)) : null;
    return new ToolCallParser(syntax, { names, parallel });
  }

  #callConstraint(): Constraint | null {
    if (this.#tools === null || (this.#tools.choice !== 'required' && this.#tools.choice !== 'named')) return null;
    const { format, schemas } = callsFormat(this.#tools, this.#format);
    const renamed = schemas.map(({ path, tool }) => {
      const place = `tools[${tool}].function.parameters`;
      return { engines: `structured_outputs.structural_tag.format${path}`, requests: place, param: place };
    });
    const structuralTag = { type: 'structural_tag', format };
    const whole = { engines: 'structured_outputs.structural_tag', requests: 'tools', param: 'tools' };
    return { field: 'tools', value: { structuralTag } satisfies StructuredOutputs, renamed: [...renamed, whole] };
  }
}
