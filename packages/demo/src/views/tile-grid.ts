const GAP = 3;
/** Pools of servers have thousands of blocks: their tiles touch. */
const MANY = 1024;

/** Square tiles in rows. Device pixels; whole ones, so that a tile is redrawn without touching its neighbours. */
export class TileGrid {
  readonly columns: number;
  readonly size: number;
  readonly #gap: number;
  readonly #count: number;

  /** The largest tiles with which blocks 1 to `count` fit. */
  constructor(width: number, height: number, ratio: number, count: number) {
    const gap = count > MANY ? 0 : Math.round(GAP * ratio);
    let [best, most] = [count, 0];
    for (let columns = 1; columns <= count; columns++) {
      const size = Math.min((width - gap) / columns, (height - gap) / Math.ceil(count / columns)) - gap;
      if (size > most) [best, most] = [columns, size];
    }
    this.columns = best;
    this.size = most < 1 ? most : Math.floor(most);
    this.#gap = gap;
    this.#count = count;
  }

  x(block: number): number {
    return this.#gap + ((block - 1) % this.columns) * (this.size + this.#gap);
  }

  y(block: number): number {
    return this.#gap + Math.floor((block - 1) / this.columns) * (this.size + this.#gap);
  }

  /** The block there, or null. */
  blockAt(x: number, y: number): number | null {
    const pitch = this.size + this.#gap;
    const column = Math.floor((x - this.#gap) / pitch);
    const block = 1 + Math.floor((y - this.#gap) / pitch) * this.columns + column;
    return column >= 0 && column < this.columns && block >= 1 && block <= this.#count ? block : null;
  }
}
