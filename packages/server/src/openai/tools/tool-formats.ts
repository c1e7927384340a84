import type { ChatTemplateFacts } from '@quire/core';
import type { ToolCallSyntax } from './tool-call-parser.ts';

interface ToolCallForm extends ToolCallSyntax {
  /** How a call is written in full: what stands before and behind the arguments, given the name as JSON. */
  readonly call: readonly [before: (name: string) => string, behind: string];
  /** What stands between calls. */
  readonly between: string;
}

/** vLLM's names of the ways in which models write calls. */
export const toolCallSyntaxes = {
  /** Hermes 2 Pro, Qwen 2.5, Qwen 3: `<tool_call>{"name": "f", "arguments": {}}</tool_call>`. */
  hermes: {
    begin: '<tool_call>',
    end: '</tool_call>',
    separator: null,
    isBare: false,
    call: [name => `<tool_call>\n{"name": ${name}, "arguments": `, '}\n</tool_call>'],
    between: '\n',
  },
  /** Llama 3.1 and later: `{"name": "f", "parameters": {}}`, with or without the marker in front; several with `;` between them. */
  llama3_json: {
    begin: '<|python_tag|>',
    end: null,
    separator: ';',
    isBare: true,
    call: [name => `{"name": ${name}, "parameters": `, '}'],
    between: '; ',
  },
} as const satisfies Record<string, ToolCallForm>;

export type ToolCallFormat = keyof typeof toolCallSyntaxes;

/** The format that a template with tools shows plainly, by the marker around calls or by Llama's way to ask for them. */
export function toolCallFormatOf(template: ChatTemplateFacts | null): ToolCallFormat | null {
  if (template === null || !template.names.has('tools')) return null;
  const { source } = template;
  if (source.includes('<tool_call>') && source.includes('"arguments"')) return 'hermes';
  const isLlama = source.includes('<|start_header_id|>') && source.includes('"parameters"');
  return isLlama ? 'llama3_json' : null;
}
