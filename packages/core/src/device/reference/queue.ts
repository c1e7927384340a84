import { nextMacrotask } from './macrotask.ts';

export interface Task {
  /** Work that may take long: at most one such task runs per macrotask. */
  readonly heavy: boolean;
  run(): void;
  /** The device is gone before the task's turn. */
  abandon(error: Error): void;
}

/**
 * The device's in-order queue. Light tasks at its head run at once; each heavy one runs in a macrotask of its own, so that
 * timers, sockets and the page get their turns between steps.
 */
export class TaskQueue {
  #tasks: Task[] = [];
  #scheduled = false;

  push(task: Task): void {
    this.#tasks.push(task);
    this.#runLight();
  }

  /** Drops all tasks that have not run. */
  abandon(error: Error): void {
    const tasks = this.#tasks;
    this.#tasks = [];
    for (const task of tasks) task.abandon(error);
  }

  #runLight(): void {
    if (this.#scheduled) return;
    while (this.#tasks.length > 0 && !this.#tasks[0]!.heavy) this.#tasks.shift()!.run();
    if (this.#tasks.length === 0) return;
    this.#scheduled = true;
    nextMacrotask(() => {
      this.#tasks.shift()?.run();
      this.#scheduled = false;
      this.#runLight();
    });
  }
}
