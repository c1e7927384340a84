import { type ArgType, type EngineArg, type EngineOptions, engineArgs, toCamelCase, toSnakeCase } from '@quire/core';
import type { FlagSpec, FlagSpecs, FlagValues } from './flags.ts';

export const deviceFlag = {
  device: {
    type: 'string',
    value: 'DEVICE',
    help: 'auto, cuda, cuda-emu, webgpu or reference. auto takes CUDA, then a GPU through WebGPU, then the fastest device in software. Default auto.',
    env: 'QUIRE_DEVICE',
  },
} as const satisfies FlagSpecs;

/** A flag for every argument of the engine, under vLLM's name; the model is no flag. */
export const engineFlags: FlagSpecs = Object.fromEntries(
  Object.entries<EngineArg>(engineArgs)
    .filter(([name]) => name !== 'model')
    .map(([name, arg]) => [flagName(name), flagOf(arg)]),
);

/** The engine options among the flags of a command. */
export function engineOptions(flags: FlagValues<FlagSpecs>): EngineOptions {
  const given = Object.entries(flags).filter(([name]) => Object.hasOwn(engineFlags, name));
  return Object.fromEntries(given.map(([name, value]) => [toCamelCase(name.replaceAll('-', '_')), value]));
}

function flagName(name: string): string {
  return toSnakeCase(name).replaceAll('_', '-');
}

function flagOf({ type, value, effect, default: fallback }: EngineArg): FlagSpec {
  const shown = fallback === null || fallback === '' ? '' : ` Default ${String(fallback)}.`;
  return { type: flagType(type), help: `${effect}${shown}`, ...(value === undefined ? {} : { value }) };
}

/** A quantity is read by the check of its argument, which knows the units and the words. */
function flagType(type: ArgType): FlagSpec['type'] {
  return type === 'quantity' ? 'string' : type;
}
