/** npm run gguf -- FOLDER OUT.gguf [F32|F16|BF16|Q4_0|Q8_0|Q4_K|Q6_K] [PRE] */
import { writeFileSync } from 'node:fs';
import { folderToGguf } from './folder-to-gguf.mjs';

const [folder, out, type, pre] = process.argv.slice(2);
if (out === undefined) {
  console.error('usage: npm run gguf -- FOLDER OUT.gguf [F32|F16|BF16|Q4_0|Q8_0|Q4_K|Q6_K] [PRE]');
  process.exit(2);
}
const bytes = folderToGguf(folder, type, pre);
writeFileSync(out, bytes);
console.log(`${out}: ${bytes.length} bytes`);
