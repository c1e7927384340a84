import { render } from 'preact';
import { Session } from './state/session.ts';
import { App } from './views/app.tsx';

// The worker's name tells it where the page is: its own address is that of a file in the assets.
const worker = new Worker(new URL('./engine/worker.ts', import.meta.url), {
  type: 'module',
  name: new URL('.', document.baseURI).href,
});

render(
  <App session={new Session(worker)} address={new URLSearchParams(location.hash.slice(1))} />,
  document.getElementById('app')!,
);
