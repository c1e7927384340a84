import type { HostLogits } from '../worker/types.ts';
import type { Request } from './request.ts';

/** What the host wants of the logits of a request's next token, or null. */
export function hostLogits(request: Request): HostLogits | null {
  const { logitsProcessors, logprobTokenIds, logprobs } = request.params;
  const processes = logitsProcessors.length > 0;
  if (!processes && logprobTokenIds === null) return null;
  const process = processes ? (logits: Float32Array) => runProcessors(request, logits) : null;
  return { row: request.row, process, tokenIds: logprobTokenIds, topN: logprobs };
}

/** Whatever goes wrong in a processor of the caller's is kept with the request, which ends with it when its token arrives. */
function runProcessors(request: Request, logits: Float32Array): void {
  const context = {
    promptTokenIds: Array.from(request.tokens.subarray(0, request.numPromptTokens)),
    outputTokenIds: request.outputTokens(),
  };
  try {
    for (const process of request.params.logitsProcessors) process(context, logits);
    const wrong = logits.findIndex(logit => !(logit < Number.POSITIVE_INFINITY));
    if (wrong >= 0)
      throw new RangeError(`the logit of token ${wrong} became ${logits[wrong]}, expected a number or -Infinity`);
  } catch (cause) {
    request.processorError = cause instanceof Error ? cause : new Error(String(cause));
    // What is sampled from them is dropped.
    logits.fill(0);
  }
}
