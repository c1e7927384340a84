import { WorkerEnd } from './engine/worker-end.ts';
import { showPage } from './page.tsx';

// The worker's name tells it where the page is: its own address is that of a file in the assets.
const worker = new Worker(new URL('./engine/worker.ts', import.meta.url), {
  type: 'module',
  name: new URL('.', document.baseURI).href,
});

const end = new WorkerEnd(worker);
/** `/v1/*` of this page is answered by the engine in this tab, for clients that know nothing of it. */
globalThis.fetch = end.fetch;
showPage(end);
