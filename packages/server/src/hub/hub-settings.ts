import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { HubError } from './hub-error.ts';

const DEFAULT_ENDPOINT = 'https://huggingface.co';

type Env = Readonly<Record<string, string | undefined>>;

/** Where models are kept and where they come from, by the variables that all tools of Hugging Face read. */
export interface HubSettings {
  /** Folder of `models--ORG--NAME` folders. */
  readonly cache: string;
  readonly endpoint: URL;
  /** null: without one. Sent to the endpoint alone. */
  readonly token: string | null;
  readonly offline: boolean;
}

/**
 * `downloadDir`, else HF_HUB_CACHE, else HF_HOME/hub, is the cache; HF_ENDPOINT the hub; HF_TOKEN, else the file that
 * `huggingface-cli login` writes, the token. HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) keeps everything on this machine.
 * Throws HubError hub_setting for an endpoint that is no address and a token that no header can carry.
 */
export function hubSettings(downloadDir: string | null, env: Env = process.env): HubSettings {
  const home = env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface');
  return {
    cache: downloadDir ?? (env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, 'hub')),
    endpoint: endpointOf(env.HF_ENDPOINT || DEFAULT_ENDPOINT),
    token: tokenOf(env, home),
    offline: isOn(env.HF_HUB_OFFLINE) || isOn(env.TRANSFORMERS_OFFLINE),
  };
}

function endpointOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url !== null && ['http:', 'https:'].includes(url.protocol)) return url;
  throw new HubError(
    'hub_setting',
    `HF_ENDPOINT is ${JSON.stringify(text)}. Expected an address such as ${DEFAULT_ENDPOINT}.`,
  );
}

function tokenOf(env: Env, home: string): string | null {
  const given = env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN || readToken(env.HF_TOKEN_PATH || join(home, 'token'));
  const token = given.trim();
  if (token === '') return null;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new HubError('hub_setting', 'HF_TOKEN holds spaces or other characters that no token has. Set it anew.');
}

function readToken(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function isOn(value = ''): boolean {
  return ['1', 'on', 'yes', 'true'].includes(value.toLowerCase());
}
