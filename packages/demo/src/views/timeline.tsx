import { useMemo } from 'preact/hooks';
import type { Session } from '../state/session.ts';
import { useCanvas } from './canvas.ts';
import { TimelinePainter } from './timeline-painter.ts';

/** One column a step, one band a sequence: decode rows are solid, and of equal height; prompt chunks are pale, and as high as they have tokens. */
export function Timeline({ session }: { session: Session }) {
  const { traces, requests } = session;
  const painter = useMemo(() => new TimelinePainter(traces, id => requests.numberOf(id)), [session]);
  const canvas = useCanvas(() => {
    traces.shown.value;
    return (surface, isBlank) => painter.paint(surface, isBlank);
  });
  const trace = traces.shown.value;
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
      <ul class="legend" aria-label="Legend">
        <li>a column is a step</li>
        <li>
          <i class="key decode" /> decode: one token
        </li>
        <li>
          <i class="key prefill" /> prefill: its tokens
        </li>
      </ul>
    </section>
  );
}
