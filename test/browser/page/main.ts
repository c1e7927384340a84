/** The page's side: hands tasks of the test to the worker that holds the engine. */
import type { Answer, Task } from './messages.ts';

declare global {
  interface Window {
    runTask(task: Task): Promise<Answer>;
  }
}

const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });

window.runTask = task =>
  new Promise(resolve => {
    worker.onmessage = ({ data }: MessageEvent<Answer>) => resolve(data);
    worker.onerror = event => resolve({ kind: 'failed', message: event.message });
    worker.postMessage(task);
  });
