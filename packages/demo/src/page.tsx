import { options, render } from 'preact';
import type { EngineEnd } from './engine/engine-end.ts';
import { Session } from './state/session.ts';
import { App } from './views/app.tsx';

/** Draws the page over an engine, wherever that is. */
export function showPage(end: EngineEnd): void {
  // An engine can make many steps in the time of a frame: they are drawn together.
  options.debounceRendering = render => requestAnimationFrame(render);
  // Another address is another visit.
  addEventListener('hashchange', () => location.reload());
  const address = new URLSearchParams(location.hash.slice(1));
  render(<App session={new Session(end)} address={address} />, document.getElementById('app')!);
}
