import type { ChatTemplateFacts, ChatTemplateOptions } from '@quire/core';
import { notSupported } from './fields.ts';

interface VariableFields {
  chat_template_kwargs?: Readonly<Record<string, unknown>> | null | undefined;
  reasoning_effort?: string | null | undefined;
}

interface TemplateVariables {
  /** Checked by the renderer; null: there are none. */
  readonly kwargs: NonNullable<ChatTemplateOptions['chatTemplateKwargs']> | null;
  /** Fields that the template does not read. */
  readonly idle: readonly string[];
}

/**
 * Variables of the chat template that a request sets: those of chat_template_kwargs, and reasoning_effort where the template
 * reads it. `none` also turns `enable_thinking` off. Throws HttpError 400 for an effort that the model knows nothing of.
 */
export function templateVariables(request: VariableFields, template: ChatTemplateFacts | null): TemplateVariables {
  const reads = (name: string): boolean => template?.names.has(name) ?? false;
  const given = request.chat_template_kwargs ?? {};
  const kwargs: Record<string, unknown> = { ...given };
  const idle = Object.keys(given)
    .filter(name => !reads(name))
    .map(name => `chat_template_kwargs.${name}`);
  const effort = request.reasoning_effort ?? null;
  if (effort !== null) {
    const isOff = effort === 'none';
    if (!isOff && !reads('reasoning_effort')) throw notSupported('reasoning_effort', effort);
    if (reads('reasoning_effort')) kwargs.reasoning_effort ??= effort;
    if (isOff && reads('enable_thinking')) kwargs.enable_thinking ??= false;
    if (isOff && !reads('reasoning_effort') && !reads('enable_thinking')) idle.push('reasoning_effort');
  }
  return { kwargs: Object.keys(kwargs).length === 0 ? null : (kwargs as TemplateVariables['kwargs']), idle };
}
