/** Prometheus with the configuration and alerts that are shipped, and the queries of the dashboard. */

import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts, root, start, until } from './processes.mjs';

export async function startPrometheus(folder, enginePorts) {
  for (const name of ['prometheus.yml', 'alerts.yml'])
    copyFileSync(join(root, 'deploy/prometheus', name), join(folder, name));
  const targets = enginePorts.map(port => `127.0.0.1:${port}`);
  writeFileSync(join(folder, 'targets.json'), JSON.stringify([{ targets }]));
  const [port] = await freePorts(1);
  const flags = [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`];
  const prometheus = start('prometheus', [...flags, `--web.listen-address=127.0.0.1:${port}`]);
  const origin = `http://127.0.0.1:${port}`;
  await until('Prometheus is up', async () => (await fetch(`${origin}/-/ready`)).ok, prometheus);
  return { origin, ...prometheus };
}

/** The values of an instant query. Throws for a query that Prometheus refuses. */
export async function query({ origin }, expression) {
  const answer = await (await fetch(`${origin}/api/v1/query?query=${encodeURIComponent(expression)}`)).json();
  if (answer.status !== 'success') throw new Error(`${expression}: ${answer.error}`);
  return answer.data.result.map(({ value }) => Number(value[1]));
}

/** Alerts by name: `ok` when Prometheus could evaluate them. */
export async function rules({ origin }) {
  const { data } = await (await fetch(`${origin}/api/v1/rules`)).json();
  return data.groups.flatMap(group => group.rules.map(({ name, health }) => ({ name, health })));
}

/** Every query of the dashboard, its variables replaced. */
export function dashboardQueries(model) {
  const { panels } = JSON.parse(readFileSync(join(root, 'deploy/grafana/quire.json'), 'utf8'));
  const expressions = panels.flatMap(panel => panel.targets.map(target => target.expr));
  return expressions.map(text => text.replaceAll('$model_name', model).replaceAll('$__rate_interval', '1m'));
}

/** Names are vLLM's: with a colon, and one histogram that ends like a counter. */
const VLLM_NAMES = [
  "metric names should not contain ':'",
  'vllm:iteration_tokens_total non-counter metrics should not have "_total" suffix',
];

/** What promtool finds wrong with an exposition, but for what vLLM's names have. */
export function lint(exposition) {
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: exposition,
    encoding: 'utf8',
  });
  if (![0, 3].includes(status)) return [`promtool ended with ${status}: ${stderr}`];
  const lines = `${stdout}${stderr}`.split('\n').filter(line => line !== '');
  return lines.filter(line => !VLLM_NAMES.some(name => line.includes(name)));
}
