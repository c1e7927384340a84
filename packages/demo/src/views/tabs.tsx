import type { Signal } from '@preact/signals';

/** A list of tabs with arrow keys, as the ARIA practices describe it. */
export function Tabs<T extends string>({ tabs, selected }: { tabs: Readonly<Record<T, string>>; selected: Signal<T> }) {
  const names = Object.keys(tabs) as T[];
  const move = (by: number) => {
    selected.value = names[(names.indexOf(selected.value) + by + names.length) % names.length]!;
    document.getElementById(`tab-${selected.value}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Views">
      {names.map(name => (
        <button
          key={name}
          id={`tab-${name}`}
          type="button"
          role="tab"
          aria-selected={selected.value === name}
          aria-controls="panel"
          tabIndex={selected.value === name ? 0 : -1}
          onClick={() => {
            selected.value = name;
          }}
          onKeyDown={event => {
            if (event.key === 'ArrowRight') move(1);
            if (event.key === 'ArrowLeft') move(-1);
          }}
        >
          {tabs[name]}
        </button>
      ))}
    </div>
  );
}
