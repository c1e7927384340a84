import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type ReasoningFormat,
  reasoningSyntaxes,
} from '../../../packages/server/src/openai/reasoning/reasoning-formats.ts';
import {
  ReasoningParser,
  type ReasoningStart,
} from '../../../packages/server/src/openai/reasoning/reasoning-parser.ts';
import { ToolCallParser } from '../../../packages/server/src/openai/tools/tool-call-parser.ts';
import { toolCallSyntaxes } from '../../../packages/server/src/openai/tools/tool-formats.ts';
import { cut, parse } from './merge-events.ts';

const parserOf = (format: ReasoningFormat, start: ReasoningStart, withTools = false) => {
  const tools = withTools ? new ToolCallParser(toolCallSyntaxes.hermes, { names: null, parallel: true }) : null;
  return new ReasoningParser(reasoningSyntaxes[format], start, tools);
};

/** [reasoning, content], the same in one piece and in pieces of one code unit. */
function read(format: ReasoningFormat, start: ReasoningStart, text: string): [string, string] {
  const { reasoning, content } = parse(parserOf(format, start), [text]);
  expect(parse(parserOf(format, start), text.split(''))).toEqual({ reasoning, content, calls: [] });
  return [reasoning, content];
}

describe('reasoning', () => {
  it.each<[ReasoningFormat, ReasoningStart, string, [string, string]]>([
    ['qwen3', 'before', '<think>\nHm.\n</think>\n\nYes.', ['\nHm.\n', '\n\nYes.']],
    ['qwen3', 'before', '\n<think>Hm.</think>Yes.', ['Hm.', 'Yes.']],
    ['qwen3', 'before', ' Yes.', ['', ' Yes.']],
    ['qwen3', 'before', '<thin', ['', '<thin']],
    ['qwen3', 'before', 'Yes <think>no</think>', ['', 'Yes <think>no</think>']],
    ['qwen3', 'before', '<think>a < b </thin </think>c', ['a < b </thin ', 'c']],
    ['qwen3', 'before', '<think>never ends </thi', ['never ends </thi', '']],
    ['qwen3', 'inside', 'Hm.</think>Yes.', ['Hm.', 'Yes.']],
    ['qwen3', 'inside', 'Hm.', ['Hm.', '']],
    ['qwen3', 'after', '<think>Yes.', ['', '<think>Yes.']],
    ['deepseek_r1', 'before', 'Hm.</think>Yes.</think>', ['Hm.', 'Yes.</think>']],
    ['deepseek_r1', 'before', '<think>Hm.</think>Yes.', ['Hm.', 'Yes.']],
    ['deepseek_r1', 'before', ' Hm.', [' Hm.', '']],
    ['deepseek_r1', 'before', ' <th', [' <th', '']],
    ['deepseek_r1', 'after', 'Yes.', ['', 'Yes.']],
    ['deepseek_r1', 'before', '', ['', '']],
  ])('%s, %s the reasoning: %j', (format, start, text, expected) => {
    expect(read(format, start, text)).toEqual(expected);
  });

  it('leaves calls in it alone, and finds those behind it', () => {
    const call = '<tool_call>{"name":"f","arguments":{}}</tool_call>';
    const message = parse(parserOf('qwen3', 'before', true), [`<think>${call}</think>\n${call}`]);
    expect(message).toEqual({ reasoning: call, content: '', calls: [{ name: 'f', arguments: '{}' }] });
  });

  it('does not depend on how the text is cut, and loses nothing but markers', () => {
    const piece = fc.constantFrom('<think>', '</think>', '<thi', '</', '<', '\n', ' ', 'text', '<tool_call>', '🦊');
    const anyText = fc.array(fc.oneof(piece, fc.string()), { maxLength: 12 }).map(parts => parts.join(''));
    const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 });
    const formats = fc.constantFrom<ReasoningFormat>('qwen3', 'deepseek_r1');
    const starts = fc.constantFrom<ReasoningStart>('before', 'inside', 'after');
    fc.assert(
      fc.property(formats, starts, anyText, places, (format, start, text, cuts) => {
        const [reasoning, content] = read(format, start, text);
        const whole = parse(parserOf(format, start), cut(text, cuts));
        expect([whole.reasoning, whole.content]).toEqual([reasoning, content]);
        const left = ['', '</think>'].flatMap(end => [
          reasoning + end + content,
          `<think>${reasoning}${end}${content}`,
        ]);
        expect(left.some(kept => text.endsWith(kept) && text.slice(0, -kept.length || text.length).trim() === '')).toBe(
          true,
        );
      }),
      { numRuns: 3000 },
    );
  });
});
