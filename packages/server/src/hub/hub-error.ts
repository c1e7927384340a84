import { QuireError } from '@quire/core';

/** What went wrong between this machine and a model hub. */
export type HubErrorCode =
  /** The hub has no such model, revision or file, or hides it. */
  | 'hub_not_found'
  /** A token is needed, or the token's owner has not been let in. */
  | 'hub_access'
  /** The hub or the network failed after several tries. */
  | 'hub_unreachable'
  /** What came is not what the hub announced. */
  | 'hub_integrity'
  /** The hub's answer makes no sense. */
  | 'hub_answer'
  /** The cache cannot be written. */
  | 'hub_cache'
  /** A setting in the environment. */
  | 'hub_setting';

/** A model cannot be brought from a hub. Messages hold no token. */
export class HubError extends QuireError {
  override readonly name = 'HubError';
  /** Whether another try may succeed. */
  readonly transient: boolean;

  constructor(code: HubErrorCode, message: string, options: ErrorOptions & { transient?: boolean } = {}) {
    super(code, message, options);
    this.transient = options.transient ?? false;
  }
}
