const GOLDEN_GAMMA = 0x9e3779b97f4a7c15n;

/**
 * The seed of a request that set none: SplitMix64 (Steele, Lea, Flood 2014) of the engine's seed, at the number of the
 * request. The same engine seed and order of requests give the same outputs.
 */
export function deriveSeed(engineSeed: bigint, requestNumber: number): bigint {
  let z = BigInt.asUintN(64, engineSeed + GOLDEN_GAMMA * BigInt(requestNumber + 1));
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}
