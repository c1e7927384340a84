import { type ToolCallFormat, toolCallSyntaxes } from './tool-formats.ts';
import type { Tool, ToolRequest } from './tool-request.ts';

/** A part of a structural tag, and where in it the schema of each callable tool stands. */
export interface CallsFormat {
  readonly format: object;
  /** The path within the format, and the index of the tool in the request. */
  readonly schemas: readonly { readonly path: string; readonly tool: number }[];
}

/**
 * The calls that a request asks for, as the model writes them: at least one, and more where they may be parallel. Arguments
 * follow the schemas of the tools.
 */
export function callsFormat(request: ToolRequest, syntax: ToolCallFormat): CallsFormat {
  const { callable, tools, parallel, choice } = request;
  const format = {
    type: 'tags_with_separator',
    tags: callable.map(index => callTag(tools[index]!, syntax)),
    separator: toolCallSyntaxes[syntax].between,
    at_least_one: true,
    stop_after_first: choice === 'named' || !parallel,
  };
  return { format, schemas: callable.map((tool, i) => ({ path: `.tags[${i}].content.json_schema`, tool })) };
}

function callTag({ name, parameters }: Tool, syntax: ToolCallFormat): object {
  const [before, behind] = toolCallSyntaxes[syntax].call;
  return {
    type: 'tag',
    begin: before(JSON.stringify(name)),
    content: { type: 'json_schema', json_schema: parameters },
    end: behind,
  };
}
