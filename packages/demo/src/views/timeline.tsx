import type { BatchEntry, StepTrace } from '@quire/core';
import type { Requests } from '../state/requests.ts';
import type { Session } from '../state/session.ts';
import { type Surface, useCanvas } from './canvas.ts';

/** Width of a step. */
const STEP = 5;

/** One column a step, one band a sequence: decode rows are solid, and of equal height; prompt chunks are pale, and as high as they have tokens. */
export function Timeline({ session }: { session: Session }) {
  const canvas = useCanvas(() => {
    session.traces.shown.value;
    return surface => drawTimeline(surface, session.traces.window(Math.ceil(surface.width / STEP)), session.requests);
  });
  const trace = session.traces.shown.value;
  const entries = trace?.batch ?? [];
  const decoding = entries.filter(({ phase }) => phase === 'decode').length;
  const prefilling = entries.length - decoding;
  const waiting = trace?.sequences.filter(({ status }) => status !== 'running').length ?? 0;
  return (
    <section class="timeline" aria-label="Batches">
      <h2>Batches</h2>
      <canvas ref={canvas} role="img" aria-label="The last steps and the sequences in each" data-testid="timeline" />
      <p class="about" data-testid="batch" data-decoding={decoding} data-prefilling={prefilling} data-waiting={waiting}>
        This step: {decoding} decode, {prefilling} prefill ({entries.reduce((sum, { numTokens }) => sum + numTokens, 0)}{' '}
        tokens); {waiting} wait
      </p>
    </section>
  );
}

function drawTimeline(
  { context, width, height, colour }: Surface,
  steps: readonly StepTrace[],
  requests: Requests,
): void {
  const tokens = (entries: readonly BatchEntry[]) => entries.reduce((sum, { numTokens }) => sum + numTokens, 0);
  const most = Math.max(16, ...steps.map(({ batch }) => tokens(batch)));
  const unit = height / most;
  const [solid, pale] = [colour('--tile'), colour('--tile-pale')];
  steps.forEach(({ batch }, i) => {
    const x = width - (steps.length - i) * STEP;
    let y = height;
    for (const { requestId, numTokens, phase } of batch) {
      const tall = numTokens * unit;
      y -= tall;
      context.fillStyle = `hsl(${requests.get(requestId)?.hue ?? 0} ${phase === 'decode' ? solid : pale})`;
      context.fillRect(x, y, STEP - 1, Math.max(1, tall - (tall > 3 ? 1 : 0)));
    }
  });
}
