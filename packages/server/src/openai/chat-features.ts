import { type ChatTemplateFacts, ConfigError, suggestion } from '@quire/core';
import { type ReasoningFormat, reasoningSyntaxes } from './reasoning/reasoning-formats.ts';
import { type ToolCallFormat, toolCallFormatOf, toolCallSyntaxes } from './tools/tool-formats.ts';

/** What an operator may say of the model's ways, by vLLM's flags. */
export interface ChatFeatureOptions {
  /** How the model writes calls of tools. Default: what its chat template shows plainly, else none. */
  toolCallParser?: string | undefined;
  /** Let the model decide whether it calls tools. Default: true where it is known how it writes calls. */
  enableAutoToolChoice?: boolean | undefined;
  /** How the model sets its reasoning apart. Default: it does not. */
  reasoningParser?: string | undefined;
}

export interface ChatFeatures {
  readonly toolCalls: ToolCallFormat | null;
  readonly autoToolChoice: boolean;
  readonly reasoning: ReasoningFormat | null;
}

/** Throws ConfigError for parsers that do not exist. Needs no model. */
export function checkParserNames({ toolCallParser, reasoningParser }: ChatFeatureOptions): void {
  choose('tool_call_parser', toolCallParser, toolCallSyntaxes);
  choose('reasoning_parser', reasoningParser, reasoningSyntaxes);
}

/** Throws ConfigError for parsers that do not exist, and for `enableAutoToolChoice` without one. */
export function chatFeatures(options: ChatFeatureOptions, template: ChatTemplateFacts | null): ChatFeatures {
  const given = choose('tool_call_parser', options.toolCallParser, toolCallSyntaxes);
  const toolCalls = given ?? toolCallFormatOf(template);
  if (options.enableAutoToolChoice === true && toolCalls === null) {
    throw new ConfigError(
      `enable_auto_tool_choice needs tool_call_parser, as the model's chat template does not show how it calls tools: ${Object.keys(toolCallSyntaxes).join(' or ')}.`,
      'tool_call_parser',
    );
  }
  return {
    toolCalls,
    autoToolChoice: toolCalls !== null && options.enableAutoToolChoice !== false,
    reasoning: choose('reasoning_parser', options.reasoningParser, reasoningSyntaxes),
  };
}

function choose<T extends object>(option: string, name: string | undefined, known: T): (keyof T & string) | null {
  if (name === undefined) return null;
  if (Object.hasOwn(known, name)) return name as keyof T & string;
  const names = Object.keys(known);
  const message = `${option} must be one of ${names.join(', ')}, got ${JSON.stringify(name)}.${suggestion(name, names)}`;
  throw new ConfigError(message, option);
}
