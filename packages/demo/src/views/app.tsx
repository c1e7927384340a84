import { useSignal, useSignalEffect } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { DeviceChoice, EngineSettings, ModelChoice } from '../engine/messages.ts';
import { type Batching, runScenario, scenarios } from '../state/scenarios.ts';
import type { Session } from '../state/session.ts';
import { Api } from './api.tsx';
import { BlockPool } from './block-pool.tsx';
import { Chat } from './chat.tsx';
import { Crosscheck } from './crosscheck.tsx';
import { Header } from './header.tsx';
import { Models } from './models.tsx';
import { Notices } from './notices.tsx';
import { RequestList } from './request-list.tsx';
import { type ScenarioRun, Scenarios } from './scenarios.tsx';
import { Speed } from './speed.tsx';
import { Tabs } from './tabs.tsx';
import { Timeline } from './timeline.tsx';
import { Tour } from './tour.tsx';

export interface AppProps {
  readonly session: Session;
  /** What the address says: scenario, blocks, device, tab. */
  readonly address: URLSearchParams;
}

const BUNDLED: ModelChoice = { kind: 'bundled', name: 'tiny-llama' };
const tabs = { pages: 'Pages', chat: 'Chat', crosscheck: 'Cross-check', models: 'Model', api: 'API' } as const;
type Tab = keyof typeof tabs;
/** Kernels and models of a server are not a page's to check and to load. */
const serverTabs = { pages: tabs.pages, chat: tabs.chat, api: tabs.api } as const;

export function App({ session, address }: AppProps) {
  const offered: Partial<Record<Tab, string>> = session.kind === 'tab' ? tabs : serverTabs;
  const tab = useSignal<Tab>(known(address.get('tab'), offered));
  const settings = useSignal<EngineSettings>(settingsOf(address));
  const model = useSignal<ModelChoice>(BUNDLED);
  const selected = useSignal<number | null>(null);
  const run = useSignal<ScenarioRun | null>(null);
  const batching = useSignal<Batching>('continuous');

  const start = async (id: string) => {
    const scenario = scenarios.find(each => each.id === id);
    if (scenario === undefined) return;
    run.value?.abort.abort();
    const [how, abort] = [batching.value, new AbortController()];
    const times = run.value?.id === id ? run.value.times : {};
    run.value = { id, abort, times, running: true };
    const milliseconds = await runScenario(session, scenario, how, abort.signal);
    if (milliseconds !== null) run.value = { id, abort, times: { ...times, [how]: milliseconds }, running: false };
  };
  const load = (choice: ModelChoice, changed: EngineSettings) => {
    run.value?.abort.abort();
    model.value = choice;
    settings.value = changed;
    session.load(choice, changed);
  };

  useEffect(() => load(model.value, settings.value), []);
  useEffect(
    () =>
      session.status.subscribe(({ kind }) => {
        const id = address.get('scenario');
        if (kind !== 'ready' || id === null) return;
        address.delete('scenario');
        void start(id);
      }),
    [],
  );
  useSignalEffect(() => history.replaceState(null, '', addressOf(tab.value, settings.value, run.value?.id)));
  const touring = useSignal(address.has('tour'));
  useShortcuts(session);

  return (
    <>
      <Header session={session} />
      <Notices session={session} retry={() => load(model.value, settings.value)} />
      <Tabs tabs={offered as Record<Tab, string>} selected={tab} />
      {tab.value === 'pages' && (
        <main class="pages" id="panel">
          <Scenarios
            session={session}
            run={run}
            batching={batching}
            start={start}
            tour={() => {
              touring.value = true;
            }}
            settings={settings.value}
            resize={numBlocks => load(model.value, { ...settings.value, numBlocks })}
          />
          <RequestList session={session} selected={selected} />
          <BlockPool session={session} selected={selected} />
          <Timeline session={session} />
          <Speed session={session} />
          {touring.value && (
            <Tour
              close={() => {
                touring.value = false;
              }}
            />
          )}
        </main>
      )}
      {tab.value === 'chat' && <Chat session={session} />}
      {tab.value === 'crosscheck' && <Crosscheck session={session} />}
      {tab.value === 'api' && <Api session={session} />}
      {tab.value === 'models' && <Models session={session} model={model.value} settings={settings.value} load={load} />}
    </>
  );
}

function known(tab: string | null, offered: Partial<Record<Tab, string>>): Tab {
  return tab !== null && tab in offered ? (tab as Tab) : 'pages';
}

/** A pool that is small enough to be filled before the visitor's eyes. */
const DEFAULTS: EngineSettings = { device: 'auto', numBlocks: 64, maxNumSeqs: 12, maxNumBatchedTokens: 64 };

function settingsOf(address: URLSearchParams): EngineSettings {
  const blocks = Number(address.get('blocks'));
  const device = address.get('device');
  const seqs = Number(address.get('seqs'));
  return {
    ...DEFAULTS,
    ...(['webgpu', 'reference'].includes(device ?? '') && { device: device as DeviceChoice }),
    ...(Number.isInteger(blocks) && blocks >= 34 && blocks <= 512 && { numBlocks: blocks }),
    ...(Number.isInteger(seqs) && seqs >= 1 && seqs <= 16 && { maxNumSeqs: seqs }),
  };
}

/** The address that opens what is seen now. */
function addressOf(tab: Tab, { device, numBlocks, maxNumSeqs }: EngineSettings, scenario: string | undefined): string {
  const said = new URLSearchParams();
  if (tab !== 'pages') said.set('tab', tab);
  if (scenario !== undefined) said.set('scenario', scenario);
  if (device !== DEFAULTS.device) said.set('device', device);
  if (numBlocks !== DEFAULTS.numBlocks) said.set('blocks', String(numBlocks));
  if (maxNumSeqs !== DEFAULTS.maxNumSeqs) said.set('seqs', String(maxNumSeqs));
  return `#${said}`;
}

/** Space pauses, the right arrow makes one step, unless something that takes keys has the focus. */
function useShortcuts(session: Session): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (target.closest('input:not([type=range]), textarea, select, button, a, summary')) return;
      if (event.key === ' ') {
        event.preventDefault();
        session.togglePause();
      } else if (event.key === 'ArrowRight' && session.pace.value.paused && !target.closest('input')) session.step();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [session]);
}
