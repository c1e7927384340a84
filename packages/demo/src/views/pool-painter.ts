import type { StepTrace } from '@quire/core';
import type { Surface } from './canvas.ts';
import { HueStyles } from './hue-styles.ts';
import { TileGrid } from './tile-grid.ts';

/** What there is to see of a pool. */
export interface PoolView {
  /** Null before the first step: all blocks are free. */
  readonly trace: StepTrace | null;
  /** Without the null block. */
  readonly numBlocks: number;
  /** The block that is looked at, or null. */
  readonly lit: number | null;
  /** The number of a request, or 0 where it is not known. */
  readonly numberOf: (requestId: string) => number;
}

/** Stripes of a shared block; how many hold it is told as a number too. */
const MOST_STRIPES = 4;
/** CSS pixels from which on there is room for a number. */
const LABELLED = 16;

/** The words that say how a tile looks: slots that are filled and marks, requests that hold it, numbers of the first of them. */
const HOLDERS = 1;
const NUMBERS = 2;
const WORDS = NUMBERS + MOST_STRIPES;
const FILLED = 0xffff;
const HELD = 1 << 16;
const CACHED = 1 << 17;
const WRITTEN = 1 << 18;
const LIT = 1 << 19;
/** Like no tile. */
const NOT_DRAWN = 0xffffffff;

/** Draws a pool, tile by tile: those alone that look otherwise than they did. */
export class PoolPainter {
  #grid = new TileGrid(0, 0, 1, 0);
  #numBlocks = 0;
  #ratio = 1;
  #wanted = new Uint32Array(0);
  #drawn = new Uint32Array(0);
  /** The first `#numChanged` are the blocks to draw. */
  #changed = new Uint32Array(0);
  #numChanged = 0;
  #palette = paletteOf(() => '');

  get columns(): number {
    return this.#grid.columns;
  }

  /** The block at a place in CSS pixels, or null. */
  blockAt(x: number, y: number): number | null {
    return this.#grid.blockAt(x * this.#ratio, y * this.#ratio);
  }

  paint(surface: Surface, isBlank: boolean, view: PoolView): void {
    if (isBlank || view.numBlocks !== this.#numBlocks) this.#begin(surface, view.numBlocks);
    this.#look(view);
    this.#compare();
    if (this.#numChanged > 0) this.#draw(surface, view.trace?.pool.blockSize ?? 1);
  }

  #begin({ context, width, height, ratio, colour }: Surface, numBlocks: number): void {
    context.clearRect(0, 0, width, height);
    this.#grid = new TileGrid(width, height, ratio, numBlocks);
    this.#numBlocks = numBlocks;
    this.#ratio = ratio;
    this.#palette = paletteOf(colour);
    this.#wanted = new Uint32Array((numBlocks + 1) * WORDS);
    this.#drawn = new Uint32Array((numBlocks + 1) * WORDS).fill(NOT_DRAWN);
    this.#changed = new Uint32Array(numBlocks);
    // Once: a font is parsed and looked up whenever it is set.
    context.font = `${Math.min(11 * ratio, this.#grid.size / 2.4)}px system-ui, sans-serif`;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
  }

  #look({ trace, lit, numberOf }: PoolView): void {
    const wanted = this.#wanted.fill(0);
    if (lit !== null && lit <= this.#numBlocks) wanted[lit * WORDS]! |= LIT;
    if (trace === null) return;
    const { filled, refCounts, cached, written } = trace.pool;
    for (let block = 1; block <= this.#numBlocks; block++) {
      const marks = (refCounts[block]! > 0 ? HELD : 0) | (cached[block] === 1 ? CACHED : 0);
      wanted[block * WORDS]! |= filled[block]! | marks;
    }
    for (const block of written) wanted[block * WORDS]! |= WRITTEN;
    for (const { requestId, blockTable } of trace.sequences) {
      const number = numberOf(requestId);
      if (number === 0) continue;
      for (const block of blockTable) {
        const place = wanted[block * WORDS + HOLDERS]!++;
        if (place < MOST_STRIPES) wanted[block * WORDS + NUMBERS + place] = number;
      }
    }
  }

  #compare(): void {
    const [wanted, drawn] = [this.#wanted, this.#drawn];
    this.#numChanged = 0;
    for (let block = 1; block <= this.#numBlocks; block++) {
      let word = block * WORDS;
      const end = word + WORDS;
      while (word < end && wanted[word] === drawn[word]) word++;
      if (word < end) this.#changed[this.#numChanged++] = block;
    }
    this.#wanted = drawn;
    this.#drawn = wanted;
  }

  #draw({ context, ratio }: Surface, blockSize: number): void {
    const { size } = this.#grid;
    context.fillStyle = this.#palette.free;
    for (let i = 0; i < this.#numChanged; i++) {
      const block = this.#changed[i]!;
      context.fillRect(this.#grid.x(block), this.#grid.y(block), size, size);
    }
    for (let i = 0; i < this.#numChanged; i++) this.#fill(context, this.#changed[i]!, blockSize);
    for (let i = 0; i < this.#numChanged; i++) this.#mark(context, this.#changed[i]!, ratio);
    if (size < LABELLED * ratio) return;
    for (let i = 0; i < this.#numChanged; i++) this.#label(context, this.#changed[i]!, blockSize);
  }

  #fill(context: CanvasRenderingContext2D, block: number, blockSize: number): void {
    const { size } = this.#grid;
    const at = block * WORDS;
    const tall = Math.round((size * (this.#drawn[at]! & FILLED)) / blockSize);
    const stripes = Math.min(MOST_STRIPES, this.#drawn[at + HOLDERS]!);
    const [x, top] = [this.#grid.x(block), this.#grid.y(block) + size - tall];
    if (stripes === 0 && (this.#drawn[at]! & HELD) !== 0) {
      context.fillStyle = this.#palette.cached;
      context.fillRect(x, top, size, tall);
    }
    for (let i = 0; i < stripes; i++) {
      const number = this.#drawn[at + NUMBERS + i]!;
      // Samples of one request have its colour: their stripes are told apart by their lightness.
      const isSame = i % 2 === 1 && this.#drawn[at + NUMBERS + i - 1] === number;
      context.fillStyle = (isSame ? this.#palette.stripe : this.#palette.tile).of(number);
      const [left, right] = [Math.round((i * size) / stripes), Math.round(((i + 1) * size) / stripes)];
      context.fillRect(x + left, top, right - left, tall);
    }
  }

  #mark(context: CanvasRenderingContext2D, block: number, ratio: number): void {
    const marks = this.#drawn[block * WORDS]!;
    if ((marks & (HELD | CACHED)) === CACHED) this.#outline(context, block, this.#palette.cached, 1.5 * ratio);
    if ((marks & WRITTEN) !== 0) this.#outline(context, block, this.#palette.written, 2 * ratio);
    if ((marks & LIT) !== 0) this.#outline(context, block, this.#palette.lit, 3 * ratio);
  }

  #outline(context: CanvasRenderingContext2D, block: number, style: string, width: number): void {
    context.strokeStyle = style;
    context.lineWidth = width;
    const [inset, side] = [width / 2, this.#grid.size - width];
    context.strokeRect(this.#grid.x(block) + inset, this.#grid.y(block) + inset, side, side);
  }

  /** Who holds it, or how many do; its own number where nobody does. */
  #label(context: CanvasRenderingContext2D, block: number, blockSize: number): void {
    const { size } = this.#grid;
    const at = block * WORDS;
    const holders = this.#drawn[at + HOLDERS]!;
    const isOnTile = holders > 0 && (this.#drawn[at]! & FILLED) > blockSize / 2;
    context.fillStyle = isOnTile ? this.#palette.onTile : this.#palette.faint;
    const one = holders === 1 ? this.#drawn[at + NUMBERS]! : block;
    const text = holders > 1 ? `${holders}x` : String(one);
    context.fillText(text, this.#grid.x(block) + size / 2, this.#grid.y(block) + size / 2);
  }
}

function paletteOf(colour: Surface['colour']) {
  return {
    free: colour('--free'),
    cached: colour('--cached'),
    written: colour('--written'),
    lit: colour('--accent'),
    onTile: colour('--on-tile'),
    faint: colour('--faint'),
    tile: new HueStyles(colour('--tile')),
    stripe: new HueStyles(colour('--tile-stripe')),
  };
}
