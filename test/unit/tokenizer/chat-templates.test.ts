import { Template } from '@huggingface/jinja';
import { describe, expect, it } from 'vitest';
import {
  type ChatMessage,
  type ChatTemplateOptions,
  loadTokenizer,
} from '../../../packages/core/src/tokenizer/index.ts';
import { byteLevelJson, memoryFolder } from './sources.ts';

const specials = [
  '<s>',
  '</s>',
  '<|im_start|>',
  '<|im_end|>',
  '<|begin_of_text|>',
  '<|start_header_id|>',
  '<|end_header_id|>',
  '<|eot_id|>',
];

async function tokenizerWith(chatTemplate: unknown, more: Record<string, string | object> = {}) {
  const config = { bos_token: '<s>', eos_token: '</s>', chat_template: chatTemplate };
  return loadTokenizer(
    memoryFolder({ 'tokenizer.json': byteLevelJson({}, specials), 'tokenizer_config.json': config, ...more }),
  );
}

async function render(
  template: string,
  messages: readonly ChatMessage[],
  options: ChatTemplateOptions = {},
): Promise<string> {
  return (await tokenizerWith(template)).renderChat(messages, options);
}

const chatml =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// The published template of Llama 3 Instruct.
const llama3 =
  "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = '<|begin_of_text|>' + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

// The published template of Mistral 7B Instruct v0.1.
const mistral =
  "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";

// The published template of Zephyr 7B.
const zephyr =
  "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}";

// In the style of Llama 2: a namespace, slices, macros, and system text folded into the first turn.
const folded = `{%- macro turn(text) -%}[INST] {{ text | trim }} [/INST]{%- endmacro -%}
{%- if messages[0].role == 'system' -%}
  {%- set system, rest = messages[0].content, messages[1:] -%}
{%- else -%}
  {%- set system, rest = '', messages -%}
{%- endif -%}
{%- set ns = namespace(count=0) -%}
{%- for m in rest -%}
  {%- if m.role == 'user' -%}
    {{- bos_token + turn(('<<SYS>>' ~ system ~ '<</SYS>>' if ns.count == 0 and system else '') ~ m.content) -}}
    {%- set ns.count = ns.count + 1 -%}
  {%- else -%}
    {{- ' ' + m.content.strip() + ' ' + eos_token -}}
  {%- endif -%}
{%- endfor -%}`;

const conversation: ChatMessage[] = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: ' Hi there! ' },
  { role: 'assistant', content: 'Hello.' },
  { role: 'user', content: '你好 {{ messages }} 🦊' },
];

describe('common chat templates', () => {
  it('ChatML', async () => {
    expect(await render(chatml, conversation)).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi there! <|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n' +
        '<|im_start|>user\n你好 {{ messages }} 🦊<|im_end|>\n<|im_start|>assistant\n',
    );
    expect(await render(chatml, [{ role: 'user', content: 'x' }], { addGenerationPrompt: false })).toBe(
      '<|im_start|>user\nx<|im_end|>\n',
    );
  });

  it('Llama 3', async () => {
    expect(await render(llama3, conversation.slice(0, 2))).toBe(
      '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>' +
        '<|start_header_id|>user<|end_header_id|>\n\nHi there!<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
    );
  });

  it('Mistral', async () => {
    expect(await render(mistral, conversation.slice(1))).toBe(
      '<s>[INST]  Hi there!  [/INST]Hello.</s> [INST] 你好 {{ messages }} 🦊 [/INST]',
    );
  });

  it('Zephyr', async () => {
    expect(await render(zephyr, conversation.slice(0, 3))).toBe(
      '<|system|>\nBe brief.</s>\n<|user|>\n Hi there! </s>\n<|assistant|>\nHello.</s>\n<|assistant|>\n',
    );
  });

  it('with macros, namespaces and slices', async () => {
    expect(await render(folded, conversation)).toBe(
      '<s>[INST] <<SYS>>Be brief.<</SYS>> Hi there! [/INST] Hello. </s><s>[INST] 你好 {{ messages }} 🦊 [/INST]',
    );
  });

  it.each([
    ['ChatML', chatml],
    ['Llama 3', llama3],
    ['Mistral', mistral],
    ['Zephyr', zephyr],
    ['macros', folded],
  ])('renders %s as the library does', async (_, template) => {
    const messages = conversation.slice(1);
    const variables = { messages, bos_token: '<s>', eos_token: '</s>', add_generation_prompt: true };
    const library = new (Template as unknown as new (source: string) => { render(variables: object): string })(
      template,
    );
    expect(await render(template, messages)).toBe(library.render(variables));
  });
});

describe('where a template comes from', () => {
  const say = (word: string): string => `${word}{{ messages[0].content }}`;
  const messages = [{ role: 'user', content: '!' }];

  it('takes the one named default of several', async () => {
    const named = [
      { name: 'tool_use', template: say('tool') },
      { name: 'default', template: say('default') },
    ];
    expect((await tokenizerWith(named)).renderChat(messages)).toBe('default!');
    expect((await tokenizerWith(named.slice(0, 1))).renderChat(messages)).toBe('tool!');
  });

  it('prefers chat_template.jinja, then tokenizer_config.json, then chat_template.json', async () => {
    const json = { 'chat_template.json': { chat_template: say('json') } };
    const jinja = { 'chat_template.jinja': say('jinja') };
    expect((await tokenizerWith(say('config'), { ...json, ...jinja })).renderChat(messages)).toBe('jinja!');
    expect((await tokenizerWith(say('config'), json)).renderChat(messages)).toBe('config!');
    expect((await tokenizerWith(undefined, json)).renderChat(messages)).toBe('json!');
  });

  it('says so when there is none, and takes one from the caller', async () => {
    const tokenizer = await tokenizerWith(undefined);
    expect(tokenizer.hasChatTemplate).toBe(false);
    expect(() => tokenizer.renderChat(messages)).toThrow(/no chat template/);
    expect(tokenizer.renderChat(messages, { chatTemplate: say('mine') })).toBe('mine!');
  });

  it('refuses named templates that leave the choice open', async () => {
    const template = { name: 'a', template: '' };
    await expect(tokenizerWith([template, template])).rejects.toMatchObject({ code: 'TOKENIZER_CHAT_TEMPLATE' });
    await expect(tokenizerWith([template, { name: 'b', template: '' }])).rejects.toMatchObject({
      code: 'TOKENIZER_CHAT_TEMPLATE',
    });
    await expect(tokenizerWith([])).rejects.toMatchObject({ code: 'TOKENIZER_CHAT_TEMPLATE' });
    await expect(tokenizerWith(7)).rejects.toMatchObject({ code: 'TOKENIZER_BAD_FIELD' });
  });
});

describe('continuing the last message', () => {
  const messages = (content: string): ChatMessage[] => [
    { role: 'user', content: 'end' },
    { role: 'assistant', content },
  ];

  it('drops what the template writes after it', async () => {
    const head = '<|im_start|>user\nend<|im_end|>\n<|im_start|>assistant\n';
    expect(await render(chatml, messages('The end'), { continueFinalMessage: true })).toBe(`${head}The end`);
    expect(await render(chatml, messages('im_end'), { continueFinalMessage: true })).toBe(`${head}im_end`);
    expect(await render(chatml, messages('So, '), { continueFinalMessage: true })).toBe(`${head}So, `);
    expect(await render(llama3, messages('So, '), { continueFinalMessage: true })).toMatch(/\n\nSo,$/);
  });

  it('refuses what cannot be continued', async () => {
    const wrong = (options: ChatTemplateOptions, content = 'x') => render(chatml, messages(content), options);
    await expect(wrong({ continueFinalMessage: true, addGenerationPrompt: true })).rejects.toMatchObject({
      param: 'continue_final_message',
    });
    await expect(wrong({ continueFinalMessage: true }, ' ')).rejects.toMatchObject({ param: 'continue_final_message' });
    await expect(render('nothing', messages('x'), { continueFinalMessage: true })).rejects.toMatchObject({
      param: 'continue_final_message',
    });
  });
});

describe('what templates can call', () => {
  it('refuses messages in its own words, shortened', async () => {
    const error = await render(mistral, [{ role: 'assistant', content: 'x' }]).catch(thrown => thrown);
    expect(error).toMatchObject({ name: 'InvalidRequestError', code: 'chat_template_refused', param: 'messages' });
    expect(error.message).toContain('Conversation roles must alternate');
    const long = await render("{{ raise_exception('x' ~ messages[0].content) }}", [
      { role: 'user', content: 'y'.repeat(10_000) },
    ]).catch(thrown => thrown);
    expect(long.message.length).toBeLessThan(700);
  });

  it('tells the date in English', async () => {
    const text = await render("{{ strftime_now('%d %b %Y|%A %B %y %H:%M:%S %I %p %j %%') }}", []);
    expect(text).toMatch(
      /^\d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4}\|[A-Z][a-z]+day [A-Z][a-z]+ \d\d \d\d:\d\d:\d\d \d\d [AP]M %j %$/,
    );
  });

  it('strips like Python', async () => {
    const content = '\n\n  x.\n y\n ';
    const strip = async (call: string) => {
      const template = `{{ messages[0].content.${call} }}|{{ ${JSON.stringify(content)}.${call} }}`;
      const [marked, plain] = (await render(template, [{ role: 'user', content }])).split('|');
      expect(marked).toBe(plain);
      return marked;
    };
    expect(await strip("lstrip('\\n')")).toBe('  x.\n y\n ');
    expect(await strip("rstrip('\\n ')")).toBe('\n\n  x.\n y');
    expect(await strip("strip('\\n y')")).toBe('x.');
    expect(await strip('strip()')).toBe('x.\n y');
    expect(await strip('strip(none)')).toBe('x.\n y');
  });

  it('counts like Python', async () => {
    expect(
      await render(
        '{% for i in range(3) %}{{ i }}{% endfor %}|{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}|{{ range(0) }}',
        [],
      ),
    ).toBe('012|531|[]');
    await expect(render('{{ range(1, 5, 0) }}', [])).rejects.toMatchObject({ code: 'chat_template_failed' });
  });

  it('sees tools as none and knows the special tokens', async () => {
    expect(await render('{{ tools is none }} {{ bos_token }} {{ pad_token is defined }}', [])).toBe('true <s> false');
  });

  it('passes names on', async () => {
    expect(
      await render('{{ messages[0].name }}:{{ messages[1].name is defined }}', [
        { role: 'user', content: 'x', name: 'Ann' },
        { role: 'user', content: 'y' },
      ]),
    ).toBe('Ann:false');
  });
});
