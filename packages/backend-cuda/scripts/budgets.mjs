/**
 * npm run cuda:budgets: holds the compiled hot kernels against their budgets and writes kernels/budgets.json. Needs nvcc and
 * g++, and no GPU. A budget that is missed is written down with its number. A test says when the file is out of date.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildCounter, buildRecorder } from './budget-programs.mjs';
import { assess, atLeast, familyOf, missedOf } from './budget-rules.mjs';
import { calibrate } from './calibrate.mjs';
import { chips } from './chips.mjs';
import { inParallel } from './in-parallel.mjs';
import { summarize } from './instructions.mjs';
import { architectures, compileKernels, compilerVersion } from './kernel-compiler.mjs';
import { readUnit } from './kernel-resources.mjs';
import { budgetHash, hotKernelHash, packageFolder } from './sources.mjs';

try {
  const stamp = {
    command: 'npm run cuda:budgets',
    sourceHash: hotKernelHash(),
    casesHash: budgetHash(),
    compiler: compilerVersion(),
  };
  const kernels = await collect(stamp.compiler);
  const path = join(packageFolder, 'kernels', 'budgets.json');
  const graph = assessGraph();
  writeFileSync(path, print({ ...stamp, atLeast }, graph, kernels));
  for (const line of [...missedLines(kernels), ...missedInGraph(graph)]) console.log(line);
  console.log(`${path}: ${kernels.length} cases.`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

/** [{ kernel, shape, sm_80: assessment, sm_90: assessment }]; of a kernel on warpgroup products there is sm_90 alone. */
async function collect(version) {
  await calibrate(version);
  const units = await compileKernels();
  const compiled = new Map(units.flatMap(readUnit).map(kernel => [`${kernel.architecture} ${kernel.symbol}`, kernel]));
  const recorder = await buildRecorder(units.map(({ object }) => object));
  const [works, traffics] = [{}, {}];
  for (const architecture of architectures) works[architecture] = await recordWorks(recorder, chips[architecture]);
  const count = await buildCounter();
  await inParallel(architectures, async architecture => {
    traffics[architecture] = await count(chips[architecture]);
  });
  return works[architectures[0]].map(({ kernel: name, shape: size, wgmma }, i) => {
    const assessments = (wgmma ? ['sm_90'] : architectures).map(architecture => {
      const { launch, ...work } = works[architecture][i];
      const traffic = traffics[architecture][i];
      const { symbol, ...shape } = launch;
      const kernel = compiled.get(`${architecture} ${symbol}`);
      kernel.summary ??= summarize(kernel.code, architecture);
      const family = familyOf(work.kernel);
      const result = assess({ chip: chips[architecture], family, work, kernel, launch, traffic });
      // Bytes that the kernel asks for, those of the caches included, by the least that it must move; emulated size.
      const requested = Number((traffic.requested / traffic.bytes).toFixed(2));
      return [architecture, { instance: kernel.name, launch: shape, requested, ...result }];
    });
    return { kernel: name, shape: size, ...Object.fromEntries(assessments) };
  });
}

/** Each case at its real size on a chip, with its one launch. */
async function recordWorks(recorder, chip) {
  const [full, small] = [await recorder.full(chip), await recorder.small(chip)];
  return full.map((work, i) => {
    const launch = onlyLaunch(work);
    if (onlyLaunch(small[i]).symbol === launch.symbol) return { ...work, launch };
    const where = `${work.kernel} (${work.shape}) on ${chip.name}`;
    throw new Error(`${where}: the emulated size takes another instance of the kernel. Choose another in budgets/.`);
  });
}

function onlyLaunch({ kernel, launches }) {
  if (launches.length !== 1) throw new Error(`${kernel} takes ${launches.length} launches; a case has one.`);
  return launches[0];
}

function missedLines(kernels) {
  return kernels.flatMap(({ kernel, shape, ...results }) =>
    Object.entries(results).flatMap(([architecture, { missed, found, budget }]) =>
      missed.map(name => `${architecture} ${kernel} (${shape}): ${name} ${found[name]}, budget ${budget[name]}`),
    ),
  );
}

/** Launches of a decode step, by model and way of sampling, as a test on the emulator has counted them. */
function assessGraph() {
  const { budget, steps } = JSON.parse(readFileSync(join(packageFolder, 'budgets', 'graph.json'), 'utf8'));
  return Object.entries(steps).map(([step, found]) => ({ step, budget, found, missed: missedOf(budget, found) }));
}

function missedInGraph(graph) {
  return graph.flatMap(({ step, budget, found, missed }) =>
    missed.map(name => `graph of ${step}: ${name} ${found[name]}, budget ${budget[name]}`),
  );
}

/** One line per field of a case. */
function print(stamp, graph, kernels) {
  const inLine = value => JSON.stringify(value, null, 1).replaceAll(/\n\s*/g, ' ');
  const fields = (object, indent) =>
    Object.entries(object)
      .map(([key, value]) => `${indent}${JSON.stringify(key)}: ${inLine(value)}`)
      .join(',\n');
  const cases = kernels.map(({ kernel, shape, ...results }) => {
    const parts = Object.entries(results).map(
      ([architecture, result]) => `      ${JSON.stringify(architecture)}: {\n${fields(result, '        ')}\n      }`,
    );
    return `    {\n${fields({ kernel, shape }, '      ')},\n${parts.join(',\n')}\n    }`;
  });
  const steps = graph.map(step => `    {\n${fields(step, '      ')}\n    }`);
  return `{\n${fields(stamp, '  ')},\n  "graph": [\n${steps.join(',\n')}\n  ],\n  "cases": [\n${cases.join(',\n')}\n  ]\n}\n`;
}
