import type { ToolCallSyntax } from './tool-call-parser.ts';

/** vLLM's names of the ways in which models write calls. */
export const toolCallSyntaxes = {
  /** Hermes 2 Pro, Qwen 2.5, Qwen 3: `<tool_call>{"name": "f", "arguments": {}}</tool_call>`. */
  hermes: { begin: '<tool_call>', end: '</tool_call>', separator: null, isBare: false },
  /** Llama 3.1 and later: `{"name": "f", "parameters": {}}`, with or without the marker in front; several with `;` between them. */
  llama3_json: { begin: '<|python_tag|>', end: null, separator: ';', isBare: true },
} as const satisfies Record<string, ToolCallSyntax>;

export type ToolCallFormat = keyof typeof toolCallSyntaxes;
