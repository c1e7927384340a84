import { useSignal } from '@preact/signals';
import type { OpName } from '@quire/core/contract';
import { opNames } from '@quire/core/program';
import type { CrosscheckRow } from '../engine/messages.ts';
import { cudaRows, recordedCuda } from '../state/recorded-cuda.gen.ts';
import type { Session } from '../state/session.ts';

/** The conformance cases on the visitor's adapter, beside what the CUDA kernels gave. */
export function Crosscheck({ session }: { session: Session }) {
  const { running, broken, rows, cases, failed, error } = session.crosscheck.value;
  const op = useSignal<OpName | null>(null);
  const done = !running && rows.length > 0;
  return (
    <main class="crosscheck" id="panel">
      <h2>Every kernel against the reference</h2>
      <p>
        The same seeded cases run on this browser's WebGPU adapter and on the reference device, which is plain
        TypeScript in double precision. A row shows the largest error as a share of what is allowed. "Break it" swaps
        two entries of every block table on the adapter's side: operations that read them must fail then.
      </p>
      <div class="row">
        <select
          aria-label="Operation"
          value={op.value ?? ''}
          onChange={event => {
            op.value = (event.currentTarget.value || null) as OpName | null;
          }}
        >
          <option value="">all operations</option>
          {opNames.map(name => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
        <button type="button" disabled={running} onClick={() => session.runCrosscheck(op.value, false)}>
          Run
        </button>
        <button type="button" disabled={running} onClick={() => session.runCrosscheck(op.value, true)}>
          Break it
        </button>
        <output data-testid="crosscheck-summary" data-running={running} data-failed={failed} data-cases={cases}>
          {running && `Running${broken ? ', with two entries of every block table swapped' : ''} ...`}
          {done && `${cases} cases, ${failed} failed${broken ? ': the swapped block-table entries were noticed' : ''}`}
        </output>
      </div>
      {error !== null && (
        <p class="bad" role="alert">
          {error}
        </p>
      )}
      <table>
        <thead>
          <tr>
            <th scope="col">Operation</th>
            <th scope="col">Cases</th>
            <th scope="col">Failed</th>
            <th scope="col">Worst error / tolerance</th>
            <th scope="col">CUDA kernels, {recordedCuda.device}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(row => (
            <Row key={row.op} row={row} />
          ))}
        </tbody>
      </table>
    </main>
  );
}

function Row({ row: { op, cases, failed, worst, message } }: { row: CrosscheckRow }) {
  const other = cudaRows.get(op);
  return (
    <>
      <tr data-op={op} data-status={failed === 0 ? 'passed' : 'failed'}>
        <th scope="row">{op}</th>
        <td>{cases}</td>
        <td>{failed === 0 ? 'none' : failed}</td>
        <td>
          <meter min={0} max={1} low={0.8} high={0.99} optimum={0} value={Math.min(1, worst ?? 1)} />{' '}
          {worst === null ? 'no number' : worst.toFixed(3)}
        </td>
        <td>
          {other === undefined ? 'none' : `${other.cases} cases, ${other.failed} failed, ${other.worst?.toFixed(3)}`}
        </td>
      </tr>
      {message !== null && (
        <tr>
          <td colSpan={5} class="bad">
            {message}
          </td>
        </tr>
      )}
    </>
  );
}
