import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';
import { fieldError, flag, show, text } from '../openai/fields.ts';

export const toolFields = {
  tools: z.nullish(z.array(z.unknown())),
  tool_choice: z.nullish(
    z.looseObject({
      type: z.enum(['auto', 'any', 'tool', 'none']),
      name: text,
      disable_parallel_tool_use: flag,
    }),
  ),
};
const shape = z.looseObject(toolFields);

const tool = z.looseObject({
  type: z.nullish(z.literal('custom')),
  name: z.string().check(z.minLength(1)),
  description: text,
  input_schema: z.looseObject({}),
});

/** Tools and their choice for the chat route. Throws HttpError 400, also for tools that Anthropic itself runs. */
export function toolsOf({ tools, tool_choice: choice }: z.output<typeof shape>): Record<string, unknown> {
  if (!tools || tools.length === 0) return {};
  const definitions = tools.map((given, i) => toFunction(given, `tools[${i}]`));
  const parallel = choice?.disable_parallel_tool_use === true ? { parallel_tool_calls: false } : {};
  return { tools: definitions, ...(choice ? { tool_choice: choiceOf(choice) } : {}), ...parallel };
}

function toFunction(given: unknown, param: string): object {
  const result = tool.safeParse(given);
  if (!result.success) throw fieldError(result.error, given, param);
  const { name, description, input_schema: parameters } = result.data;
  return { type: 'function', function: { name, ...(description ? { description } : {}), parameters } };
}

function choiceOf({ type, name }: { type: string; name?: string | null | undefined }): unknown {
  if (type === 'any') return 'required';
  if (type !== 'tool') return type;
  if (typeof name === 'string') return { type: 'function', function: { name } };
  throw invalidField('tool_choice.name', `tool_choice.name must be a string; found ${show(name)}.`, 'invalid_value');
}
