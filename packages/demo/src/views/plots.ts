import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

/** Draws a plot into an element; loaded when it is needed. */
export function draw(
  root: HTMLElement,
  { title, series }: { title: string; series: readonly { readonly label: string; readonly colour: string }[] },
): uPlot {
  const colour = (name: string) => getComputedStyle(root).getPropertyValue(name).trim();
  // Functions, because the page may turn dark meanwhile.
  const axis = {
    stroke: () => colour('--muted'),
    grid: { stroke: () => colour('--rule'), width: 1 },
    ticks: { show: false },
    size: 48,
  };
  const plot = new uPlot(
    {
      title,
      width: Math.max(200, root.clientWidth),
      height: 120,
      scales: { x: { time: false } },
      legend: { live: false },
      cursor: { show: false },
      hooks: { destroy: [() => sizes.disconnect()] },
      axes: [{ ...axis, show: false }, axis],
      series: [
        {},
        ...series.map(({ label, colour: name }, i) => ({
          label,
          stroke: () => colour(name),
          width: 2,
          dash: i === 0 ? [] : [4, 3],
          points: { show: false },
        })),
      ],
    },
    [[], ...series.map(() => [])],
    root,
  );
  const sizes = new ResizeObserver(() => plot.setSize({ width: Math.max(200, root.clientWidth), height: 120 }));
  sizes.observe(root);
  return plot;
}
