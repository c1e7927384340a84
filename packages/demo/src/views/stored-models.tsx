import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { ModelChoice } from '../engine/messages.ts';
import { removeModel, type StoredModel, storedModels } from '../engine/stored-models.ts';
import { bytes } from '../format.ts';
import type { Session } from '../state/session.ts';

export interface StoredModelsProps {
  readonly session: Session;
  readonly load: (model: ModelChoice) => void;
}

/** What was downloaded into this browser. */
export function StoredModels({ session, load }: StoredModelsProps) {
  const models = useSignal<readonly StoredModel[]>([]);
  const error = useSignal<string | null>(null);
  const list = () =>
    storedModels().then(
      found => {
        models.value = found;
      },
      // A page that is not secure has no storage.
      () => {},
    );
  useEffect(() => session.status.subscribe(() => void list()), []);
  const remove = async (model: StoredModel) => {
    error.value = null;
    try {
      await removeModel(model);
    } catch (cause) {
      error.value = cause instanceof Error ? cause.message : String(cause);
    }
    await list();
  };
  if (models.value.length === 0) return null;
  return (
    <section aria-label="Stored models">
      <h3>In this browser's storage</h3>
      <ul class="stored" data-testid="stored-models">
        {models.value.map(model => (
          <li key={model.name} class="row">
            <span>{model.address}</span>
            <span class="small">{bytes(model.bytes)}</span>
            <button type="button" onClick={() => load({ kind: 'url', url: model.address })}>
              Load
            </button>
            <button type="button" aria-label={`Remove ${model.address}`} onClick={() => void remove(model)}>
              Remove
            </button>
          </li>
        ))}
      </ul>
      {error.value !== null && (
        <p class="bad" role="alert">
          {error.value}
        </p>
      )}
    </section>
  );
}
