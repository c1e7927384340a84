/** Drawn here, because plain systems lack glyphs for them. */
const paths = {
  play: 'M5 3l12 7-12 7z',
  pause: 'M5 3h4v14H5zM11 3h4v14h-4z',
  step: 'M4 3l9 7-9 7zM14 3h3v14h-3z',
  close: 'M4 5.5L5.5 4 10 8.5 14.5 4 16 5.5 11.5 10l4.5 4.5-1.5 1.5L10 11.5 5.5 16 4 14.5 8.5 10z',
} as const;

export function Icon({ name }: { name: keyof typeof paths }) {
  return (
    <svg viewBox="0 0 20 20" width="16" height="16" aria-hidden="true">
      <path d={paths[name]} fill="currentColor" />
    </svg>
  );
}
