import type { CrosscheckReport, OpReport } from './crosscheck.ts';

/** The report as text: one line per device and op, then what failed with the command that replays it. */
export function formatTable(report: CrosscheckReport): string {
  const header = ['device', 'op', 'cases', 'failed', 'worst error / tolerance'];
  const rows = report.ops.flatMap(tableRows);
  // The last column holds sentences where a case is not offered; they run on past its title.
  const widths = header.map((title, column) =>
    column === header.length - 1 ? title.length : Math.max(title.length, ...rows.map(row => row[column]!.length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        column === 2 || column === 3 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join('  ')
      .trimEnd();
  const failures = report.failures.flatMap(({ device, op, index, name, message, replay }) => [
    `failed: ${device} ${op} ${index} (${name}): ${message ?? ''}`,
    `  replay: ${replay}`,
  ]);
  const total = `${report.cases} cases, ${report.failed} failed`;
  return [line(header), line(widths.map(width => '-'.repeat(width))), ...rows.map(line), '', ...failures, total].join(
    '\n',
  );
}

function tableRows({ device, op, cases, failed, worst, notOffered, reasons }: OpReport): string[][] {
  const rows =
    cases > 0 ? [[device, op, `${cases}`, `${failed}`, worst === null ? 'unbounded' : worst.toFixed(3)]] : [];
  if (notOffered > 0) rows.push([device, op, `${notOffered}`, 'n/a', reasons.join('; ')]);
  return rows;
}
