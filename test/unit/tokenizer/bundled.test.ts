import { describe, expect, it } from 'vitest';
import { goldenCases, loadBundled } from './sources.ts';

describe.each(['tiny-llama', 'tiny-opt'] as const)('%s', name => {
  it.each(goldenCases(name).map(golden => [golden.name, golden] as const))(
    'encodes and decodes golden case %s',
    async (_, golden) => {
      const tokenizer = await loadBundled(name);
      expect(tokenizer.encode(golden.prompt)).toEqual(golden.promptTokenIds);
      const prefix = name === 'tiny-opt' ? '<|endoftext|>' : '';
      expect(tokenizer.decode(golden.promptTokenIds, { skipSpecialTokens: false })).toBe(prefix + golden.prompt);
      expect(tokenizer.decode(golden.tokenIds)).toBe(golden.text);
    },
  );

  it('knows its vocabulary', async () => {
    const tokenizer = await loadBundled(name);
    expect(tokenizer.vocabSize).toBe(1024);
    expect(tokenizer.bosTokenId).toBe(0);
    expect(tokenizer.eosTokenId).toBe(2);
    expect(tokenizer.specialTokenIds).toEqual(new Set([0, 1, 2]));
    expect(tokenizer.tokenToId('<|im_end|>')).toBe(2);
    expect(tokenizer.tokenToId('no such token')).toBeUndefined();
    expect(tokenizer.hasChatTemplate).toBe(true);
  });

  it('encodes the golden chat prompts as conversations', async () => {
    const tokenizer = await loadBundled(name);
    const chats = goldenCases(name).filter(golden => golden.prompt.startsWith('<|im_start|>'));
    expect(chats.length).toBeGreaterThan(5);
    for (const golden of chats) {
      const messages = [...golden.prompt.matchAll(/<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n/gs)].map(
        ([, role, content]) => ({
          role: role!,
          content: content!,
        }),
      );
      expect(tokenizer.renderChat(messages, { addGenerationPrompt: true })).toBe(golden.prompt);
      const ids = tokenizer.encodeChat(messages, { addGenerationPrompt: true });
      expect(ids).toEqual(name === 'tiny-opt' ? golden.promptTokenIds.slice(1) : golden.promptTokenIds);
    }
  });
});
