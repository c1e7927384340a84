import { Counter, Gauge, type Registry } from 'prom-client';
import { type DelayWindow, EventLoopDelay } from './event-loop-delay.ts';

/** This process: the names that Prometheus' own client libraries use. Nothing here reads a file. */
export class ProcessMetrics {
  readonly #delay = new EventLoopDelay();
  readonly #cpu: Counter;
  readonly #resident: Gauge;
  readonly #heap: Gauge;
  readonly #loop: Readonly<Record<keyof DelayWindow, Gauge>>;

  constructor(registry: Registry) {
    const registers = [registry];
    const gauge = (name: string, help: string) => new Gauge({ name, help, registers });
    this.#cpu = new Counter({ name: 'process_cpu_seconds_total', help: 'CPU time, user and system.', registers });
    this.#resident = gauge('process_resident_memory_bytes', 'Resident memory.');
    this.#heap = gauge('nodejs_heap_size_used_bytes', 'Heap of JavaScript in use.');
    const lag = (name: string) =>
      gauge(`nodejs_eventloop_lag_${name}_seconds`, `Delay of the event loop over ten seconds, ${name}.`);
    this.#loop = { mean: lag('mean'), p50: lag('p50'), p90: lag('p90'), p99: lag('p99'), max: lag('max') };
    const start = gauge('process_start_time_seconds', 'When the process started, in seconds since 1970.');
    start.set(performance.timeOrigin / 1000);
  }

  update(): void {
    const { user, system } = process.cpuUsage();
    const { rss, heapUsed } = process.memoryUsage();
    this.#cpu.reset();
    this.#cpu.inc((user + system) / 1e6);
    this.#resident.set(rss);
    this.#heap.set(heapUsed);
    for (const [name, value] of Object.entries(this.#delay.read())) {
      this.#loop[name as keyof DelayWindow].set(value);
    }
  }

  stop(): void {
    this.#delay.stop();
  }
}
