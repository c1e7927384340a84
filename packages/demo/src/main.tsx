import { render } from 'preact';
import { Session } from './state/session.ts';
import { App } from './views/app.tsx';

// The worker's name tells it where the page is: its own address is that of a file in the assets.
const worker = new Worker(new URL('./engine/worker.ts', import.meta.url), {
  type: 'module',
  name: new URL('.', document.baseURI).href,
});

const session = new Session(worker);

/** `/v1/*` of this page is answered by the engine in this tab, for clients that know nothing of it. */
const pageFetch = globalThis.fetch;
globalThis.fetch = (input, init) => {
  const { origin, pathname } = new URL(input instanceof Request ? input.url : input, document.baseURI);
  const isOurs = origin === location.origin && pathname.startsWith('/v1/');
  return isOurs ? session.fetch(input, init) : pageFetch(input, init);
};

const address = new URLSearchParams(location.hash.slice(1));
render(<App session={session} address={address} />, document.getElementById('app')!);
