/**
 * Turns shaders/ into packages/backend-webgpu/src/shaders.gen.ts, a plain TypeScript module that Node, tests and bundlers
 * import alike. `npm run shaders` writes it; a unit test checks that it is fresh.
 *
 * Comment lines of a WGSL file that the generator reads:
 *   // uses: a, b             fragments of shaders/lib that are always linked in
 *   // fragments: slot = a|b  one of these fragments is chosen per variant (several slots: one line each)
 *   // consts: N = 4, M = 8   `const N = 4u;` goes before the text; the host may choose another value
 *   // enables: f16           WGSL extensions
 *   // directive: TEXT        another directive for the head of the module
 * Bindings are declared on one line each, in group 0, and `struct Params` holds 4-byte scalars only.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const shadersFolder = join(root, 'shaders');
export const outputFile = join(root, 'packages/backend-webgpu/src/shaders.gen.ts');

/** The text of shaders.gen.ts. */
export function generate() {
  const files = listFiles(shadersFolder).sort();
  const fragments = {};
  const shaders = {};
  for (const file of files) {
    const key = relative(shadersFolder, file)
      .replace(/\\/g, '/')
      .replace(/\.wgsl$/, '');
    const text = readFileSync(file, 'utf8');
    if (key.startsWith('lib/')) fragments[key.slice('lib/'.length)] = readFragment(key, text);
    else shaders[key] = readShader(key, text);
  }
  checkReferences(shaders, fragments);
  return print(shaders, fragments);
}

function listFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return listFiles(path);
    return entry.name.endsWith('.wgsl') ? [path] : [];
  });
}

function readFragment(key, text) {
  if (!text.startsWith('//')) fail(key, 'starts with a comment that says what it is for');
  return {
    uses: directives(text, 'uses').flatMap(splitList),
    enables: directives(text, 'enables').flatMap(splitList),
    directives: directives(text, 'directive'),
    consts: readConsts(key, text),
    bindings: readBindings(key, text),
    source: strip(text),
  };
}

function readShader(key, text) {
  const shader = { ...readFragment(key, text), fragments: readSlots(text), params: readParams(key, text) };
  shader.bindings.forEach((binding, index) => {
    if (binding.index !== index)
      fail(key, `has bindings numbered from 0 in order; ${binding.name} is ${binding.index}`);
    if (!new RegExp(`^//.*\\b${binding.name}\\b`, 'm').test(text))
      fail(key, `describes binding ${binding.name} in its header`);
  });
  const storage = shader.bindings.filter(binding => binding.access !== 'uniform');
  if (storage.length > 8) fail(key, `binds at most 8 storage buffers; it binds ${storage.length}`);
  return shader;
}

function directives(text, name) {
  return [...text.matchAll(new RegExp(`^// ${name}: (.+)$`, 'gm'))].map(match => match[1].trim());
}

function splitList(list) {
  return list.split(',').map(item => item.trim());
}

function readSlots(text) {
  const slots = {};
  for (const line of directives(text, 'fragments')) {
    const [slot, choices] = line.split('=');
    slots[slot.trim()] = choices.split('|').map(choice => choice.trim());
  }
  return slots;
}

function readConsts(key, text) {
  const consts = {};
  for (const item of directives(text, 'consts').flatMap(splitList)) {
    const [name, value] = item.split('=').map(part => part.trim());
    if (!/^[A-Z][A-Z0-9_]*$/.test(name) || !/^\d+$/.test(value)) fail(key, `has consts NAME = integer; found ${item}`);
    consts[name] = Number(value);
  }
  return consts;
}

function readBindings(key, text) {
  const bindings = [];
  for (const line of text.split('\n').filter(line => line.includes('@group(0)'))) {
    const match = /@group\(0\) @binding\((\d+)\) var<(uniform|storage(?:, (read|read_write))?)> (\w+): ([^;]+);/.exec(
      line,
    );
    if (match === null) fail(key, `declares each binding on one line; found ${line}`);
    const access = match[2] === 'uniform' ? 'uniform' : (match[3] ?? 'read');
    bindings.push({ index: Number(match[1]), name: match[4], access, type: match[5] });
  }
  return bindings;
}

function readParams(key, text) {
  const body = /struct Params \{([^}]*)\}/.exec(text)?.[1];
  if (body === undefined) return [];
  const fields = strip(body)
    .split(',')
    .map(field => field.trim())
    .filter(Boolean);
  return fields.map(field => {
    const match = /^(\w+): (u32|i32|f32)$/.exec(field);
    if (match === null) fail(key, `has only 4-byte scalars in Params; found ${field}`);
    return { name: match[1], type: match[2] };
  });
}

/** Comments stay out of the generated module; lines stay where they are between them. */
function strip(text) {
  const lines = text.split('\n').map(line => line.replace(/\s*\/\/.*$/, ''));
  return `${lines.filter(line => line.trim() !== '').join('\n')}\n`;
}

function checkReferences(shaders, fragments) {
  for (const [key, { uses, fragments: slots = {} }] of [...Object.entries(shaders), ...Object.entries(fragments)]) {
    for (const name of [...uses, ...Object.values(slots).flat()]) {
      if (fragments[name] === undefined) fail(key, `uses fragments of shaders/lib; there is no ${name}`);
    }
  }
}

function print(shaders, fragments) {
  const lines = [
    '// Made by packages/backend-webgpu/scripts/generate-shaders.mjs from shaders/. Do not edit: npm run shaders.',
    '',
  ];
  for (const [name, table] of Object.entries({ fragments, shaders })) {
    lines.push(`export const ${name} = {`);
    for (const [key, { source, ...rest }] of Object.entries(table)) {
      lines.push(`  '${key}': {`);
      for (const [field, value] of Object.entries(rest)) lines.push(`    ${field}: ${JSON.stringify(value)},`);
      lines.push(`    source: \`${source.replace(/[\\`$]/g, '\\$&')}\`,`, '  },');
    }
    lines.push('} as const;', '');
  }
  return lines.join('\n');
}

function fail(key, rule) {
  throw new Error(`shaders/${key}.wgsl: a shader ${rule}.`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) writeFileSync(outputFile, generate());
