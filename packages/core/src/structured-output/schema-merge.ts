import { failAt, isObject, type Schema } from './schema-nodes.ts';

const sameJson = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

/** One schema that asks for what both ask for. Keywords that both have must agree, or be ones that can be put together. */
export function mergeSchemas(a: Schema, b: Schema, path: string): Schema {
  const merged: Record<string, unknown> = { ...a };
  for (const [name, value] of Object.entries(b)) {
    merged[name] = Object.hasOwn(a, name) ? mergeKeyword(name, a[name], value, path) : value;
  }
  checkOpen(a, b, path);
  checkOpen(b, a, path);
  return merged;
}

function mergeKeyword(name: string, a: unknown, b: unknown, path: string): unknown {
  if (sameJson(a, b)) return a;
  if (name === 'required' && Array.isArray(a) && Array.isArray(b)) return [...new Set([...a, ...b])];
  if (name === 'properties' && isObject(a) && isObject(b)) {
    const shared = Object.keys(a).filter(key => Object.hasOwn(b, key) && !sameJson(a[key], b[key]));
    if (shared.length === 0) return { ...a, ...b };
  }
  return failAt(path, `combines schemas that both have "${name}"`);
}

/** additionalProperties speaks of the properties beside it: another schema's must not slip in among them. */
function checkOpen(closed: Schema, other: Schema, path: string): void {
  if (closed.additionalProperties === undefined || closed.additionalProperties === true) return;
  const own = isObject(closed.properties) ? closed.properties : {};
  const theirs = Object.keys(isObject(other.properties) ? other.properties : {});
  const added = theirs.find(name => !Object.hasOwn(own, name));
  if (added !== undefined) failAt(path, `combines additionalProperties with the property "${added}" of another schema`);
}
