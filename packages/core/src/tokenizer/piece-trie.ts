import { MergeTable } from './merge-table.ts';

/** The pieces of a vocabulary as a trie over UTF-16 code units, in the typed arrays of a hash table. */
export class PieceTrie {
  readonly root = 0;
  readonly #children: MergeTable;
  readonly #ids: Int32Array;

  constructor(pieces: readonly (readonly [piece: string, id: number])[]) {
    const units = pieces.reduce((sum, [piece]) => sum + piece.length, 0);
    this.#children = new MergeTable(units);
    this.#ids = new Int32Array(units + 1).fill(-1);
    let nodes = 1;
    for (const [piece, id] of pieces) {
      let node = this.root;
      for (let i = 0; i < piece.length; i++) {
        const unit = piece.charCodeAt(i);
        const slot = this.#children.find(node, unit);
        if (slot < 0) this.#children.set(node, unit, 0, nodes);
        node = slot < 0 ? nodes++ : this.#children.merged(slot);
      }
      this.#ids[node] = id;
    }
  }

  /** The node behind `node` for a code unit, or -1. */
  step(node: number, unit: number): number {
    const slot = this.#children.find(node, unit);
    return slot < 0 ? -1 : this.#children.merged(slot);
  }

  /** The piece that ends at a node, or -1. */
  idOf(node: number): number {
    return this.#ids[node]!;
  }
}
