import { ModelFormatError } from '@quire/core';
import * as z from 'zod/mini';
import type { AppContext } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { invalidField } from '../http/errors.ts';
import { type Reply, textReply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { integer, parseRequest, type RequestSchema } from './fields.ts';
import { ignoredHeader } from './run.ts';
import { is } from './sampling-fields.ts';

const name = z.string();

/** POST /v1/load_lora_adapter */
export const loadLoraSchema: RequestSchema<{ lora_name: typeof name; lora_path: typeof name }> = {
  fields: z.looseObject({ lora_name: name, lora_path: name }),
  passed: [],
  unsupported: { load_inplace: is(false) },
};

const unloadShape = { lora_name: name, lora_int_id: integer(0) };

/** POST /v1/unload_lora_adapter */
export const unloadLoraSchema: RequestSchema<typeof unloadShape> = {
  fields: z.looseObject(unloadShape),
  passed: [],
  unsupported: {},
};

/** POST /v1/load_lora_adapter: a folder in one of those that the operator named. */
export async function handleLoadLora(app: AppContext, given: AppRequest): Promise<Reply> {
  const body = await readJsonBody(given, app.maxBodyBytes);
  const { request, ignored } = parseRequest(loadLoraSchema, body, app.strict);
  try {
    await app.adapters.load(request.lora_name, request.lora_path);
  } catch (error) {
    if (error instanceof ModelFormatError) throw invalidField('lora_path', error.message, error.code);
    throw error;
  }
  app.log.info({ adapter: request.lora_name }, 'adapter loaded');
  return textReply(
    `Success: LoRA adapter '${request.lora_name}' added successfully.`,
    'text/plain; charset=utf-8',
    ignoredHeader(ignored),
  );
}

/** POST /v1/unload_lora_adapter: requests that began with it go on. */
export async function handleUnloadLora(app: AppContext, given: AppRequest): Promise<Reply> {
  const body = await readJsonBody(given, app.maxBodyBytes);
  const { request, ignored } = parseRequest(unloadLoraSchema, body, app.strict);
  await app.adapters.unload(request.lora_name);
  app.log.info({ adapter: request.lora_name }, 'adapter unloaded');
  return textReply(
    `Success: LoRA adapter '${request.lora_name}' removed successfully.`,
    'text/plain; charset=utf-8',
    ignoredHeader(ignored),
  );
}
