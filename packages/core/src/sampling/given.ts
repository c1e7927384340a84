import { checkBoolean } from './checks.ts';

/** What a caller gave, by camelCase name. */
export type Given = ReadonlyMap<string, unknown>;

/** The checked value, or the checked default: a default of generation_config.json is checked like a caller's. */
export function take<T>(given: Given, name: string, fallback: unknown, check: (value: unknown, name: string) => T): T {
  const value = given.get(name);
  return check(value === undefined ? fallback : value, name);
}

export function boolean(value: unknown, name: string): boolean {
  return checkBoolean(name, value);
}
