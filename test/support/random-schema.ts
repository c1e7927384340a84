/** Random JSON schemas of the keywords that structured outputs keep to, whose values have a bounded size: a small model must end. */

export type Draw = (below: number) => number;

/** Integers below a bound, from a seed (a linear congruential generator; the low bits are not used). */
export function drawFrom(seed: number): Draw {
  let state = (seed * 2654435761) >>> 0;
  return below => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const words = ['name', 'age', 'color', 'size', 'tags', 'id', 'a "quoted" key', 'caf\u00e9', 'x', 'note'];
const formats = ['date', 'time', 'date-time', 'uuid', 'ipv4', 'email', 'hostname', 'duration'];
const patterns = ['^[a-z]{1,5}$', '^\\d{3}-\\d{2}$', '^(red|green|blue)!?$', '^[A-Z][a-z]{0,6}ly.{0,3}$', '^\\w{2,4}$'];

/** An object at the top, as most are; `depth` levels below it. */
export function randomSchema(draw: Draw, depth = 3): object {
  const $defs = {
    leaf: randomLeaf(draw),
    pair: { type: 'array', prefixItems: [randomLeaf(draw), randomLeaf(draw)], items: false, minItems: 2 },
  };
  return { ...randomObject(draw, depth), $defs };
}

function randomValue(draw: Draw, depth: number): object {
  const kind = draw(depth > 0 ? 10 : 6);
  if (kind < 5) return randomLeaf(draw);
  if (kind === 5) return { $ref: draw(2) === 0 ? '#/$defs/leaf' : '#/$defs/pair' };
  if (kind === 6) return { anyOf: [randomLeaf(draw), { type: 'null' }] };
  if (kind === 7) return randomArray(draw, depth - 1);
  return randomObject(draw, depth - 1);
}

function randomObject(draw: Draw, depth: number): object {
  const names = words.filter(() => draw(3) === 0).slice(0, 4);
  const properties = Object.fromEntries(names.map(name => [name, randomValue(draw, depth)]));
  const required = names.filter(() => draw(2) === 0);
  return { type: 'object', properties, required, ...(draw(2) === 0 ? { additionalProperties: false } : {}) };
}

function randomArray(draw: Draw, depth: number): object {
  const minItems = draw(3);
  return { type: 'array', items: randomValue(draw, depth), minItems, maxItems: minItems + 1 + draw(3) };
}

function randomLeaf(draw: Draw): object {
  switch (draw(9)) {
    case 0:
      return { type: 'boolean' };
    case 1:
      return { enum: ['red', 'green', 7, null, true].slice(draw(3)) };
    case 2:
      return { const: words[draw(words.length)] };
    case 3:
      return randomInteger(draw);
    case 4:
      return randomNumber(draw);
    case 5:
      return { type: 'string', format: formats[draw(formats.length)] };
    case 6:
      return { type: 'string', pattern: patterns[draw(patterns.length)] };
    case 7:
      return { type: ['integer', 'null'] };
    default:
      return randomText(draw);
  }
}

function randomText(draw: Draw): object {
  const minLength = draw(4);
  return { type: 'string', minLength, maxLength: minLength + 1 + draw(12) };
}

function randomInteger(draw: Draw): object {
  const minimum = draw(2000) - 1000;
  const lower = draw(2) === 0 ? { minimum } : { exclusiveMinimum: minimum };
  return { type: 'integer', ...lower, ...(draw(2) === 0 ? { maximum: minimum + 1 + draw(5000) } : {}) };
}

function randomNumber(draw: Draw): object {
  const minimum = draw(40) - 20;
  const lower = draw(2) === 0 ? { minimum } : { exclusiveMinimum: minimum };
  const upper = minimum + 1 + draw(100);
  return { type: 'number', ...lower, ...(draw(2) === 0 ? { maximum: upper } : { exclusiveMaximum: upper }) };
}
