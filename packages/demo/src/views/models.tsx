import { useSignal } from '@preact/signals';
import { bundledModels, type DeviceChoice, type EngineSettings, type ModelChoice } from '../engine/messages.ts';
import { bytes, milliseconds } from '../format.ts';
import type { Session } from '../state/session.ts';
import { StoredModels } from './stored-models.tsx';

export interface ModelsProps {
  readonly session: Session;
  /** What runs, or was to. */
  readonly model: ModelChoice;
  readonly settings: EngineSettings;
  readonly load: (model: ModelChoice, settings: EngineSettings) => void;
}

const devices: Readonly<Record<DeviceChoice, string>> = {
  auto: 'the GPU, if there is one',
  webgpu: 'WebGPU, on any adapter',
  reference: 'the reference device: TypeScript, on the processor',
};

/** Which model runs, where, and what else could. */
export function Models({ session, model, settings, load }: ModelsProps) {
  const info = session.info.value;
  return (
    <main class="models" id="panel">
      <h2>Model</h2>
      {info !== null && (
        <dl class="facts" data-testid="model-facts">
          <Fact
            name="model"
            value={`${info.model} (${info.architecture ?? 'unknown'}), vocabulary ${info.vocabSize}`}
          />
          <Fact name="device" value={`${info.deviceName} (${info.deviceKind})`} />
          <Fact
            name="memory"
            value={`${bytes(info.deviceBytes ?? 0)} on the device; ${info.numBlocks - 1} KV blocks of ${info.blockSize} tokens`}
          />
          <Fact name="context" value={`${info.maxModelLen} tokens`} />
          <Fact name="loaded in" value={milliseconds(info.loadMilliseconds ?? 0)} />
        </dl>
      )}
      <label>
        Device
        <select
          value={settings.device}
          onChange={event => load(model, { ...settings, device: event.currentTarget.value as DeviceChoice })}
        >
          {Object.entries(devices).map(([name, words]) => (
            <option key={name} value={name}>
              {words}
            </option>
          ))}
        </select>
      </label>
      <h3>Bundled models</h3>
      <div class="row">
        {bundledModels.map(name => (
          <button
            key={name}
            type="button"
            aria-pressed={model.kind === 'bundled' && model.name === name}
            onClick={() => load({ kind: 'bundled', name }, settings)}
          >
            {name}
          </button>
        ))}
      </div>
      <h3>A folder on this machine</h3>
      <p>
        A model in Hugging Face's layout: config.json, tokenizer.json and safetensors. Nothing is uploaded: the files
        are read by this page alone.
      </p>
      <input
        type="file"
        aria-label="Model folder"
        multiple
        {...{ webkitdirectory: true }}
        onChange={event => {
          const files = [...(event.currentTarget.files ?? [])].filter(inFolder);
          if (files.length > 0) load({ kind: 'files', name: folderOf(files[0]!), files }, settings);
        }}
      />
      <Address load={model => load(model, settings)} />
      <StoredModels session={session} load={model => load(model, settings)} />
    </main>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** Files of the picked folder itself; what lies deeper belongs to no model. */
function inFolder({ webkitRelativePath: path }: File): boolean {
  return path.split('/').length <= 2;
}

function folderOf({ webkitRelativePath: path, name }: File): string {
  return path.split('/')[0] || name;
}

function Address({ load }: { load: (model: ModelChoice) => void }) {
  const url = useSignal('');
  return (
    <form
      onSubmit={event => {
        event.preventDefault();
        if (url.value !== '') load({ kind: 'url', url: url.value });
      }}
    >
      <h3>An address</h3>
      <p>
        A folder in Hugging Face's layout, such as https://huggingface.co/org/name. Files are kept in this browser's
        storage, and a broken download goes on where it stopped. Before weights are fetched, their headers tell whether
        there is room for them on the device.
      </p>
      <div class="row">
        <input
          type="url"
          aria-label="Address of a model"
          placeholder="https://huggingface.co/org/name"
          value={url.value}
          onInput={event => {
            url.value = event.currentTarget.value;
          }}
        />
        <button type="submit">Load</button>
      </div>
    </form>
  );
}
