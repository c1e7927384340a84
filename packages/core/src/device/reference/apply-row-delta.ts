import { DELTA_HEADER_WORDS, DELTA_SEGMENT_WORDS, DeltaTarget } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';

/** target[destination .. + length] = delta[source .. + length] for each segment of the delta. */
export const applyRowDelta: Kernel<'applyRowDelta'> = (_, { delta, ...state }) => {
  const targets = Object.entries(DeltaTarget).map(([name, id]) => ({
    name,
    id,
    data: state[name as keyof typeof state].data,
  }));
  return sizes => {
    const segments = Math.min(delta.data[0]!, sizes.deltaSegments);
    for (let segment = 0; segment < segments; segment++) {
      const at = DELTA_HEADER_WORDS + segment * DELTA_SEGMENT_WORDS;
      const [id, destination, source, length] = delta.data.subarray(at, at + DELTA_SEGMENT_WORDS) as unknown as Segment;
      const target = targets.find(candidate => candidate.id === id);
      if (target === undefined) throw new RangeError(`delta segment ${segment}: found target ${id}, expected 0 .. 4`);
      if (source + length > delta.data.length || destination + length > target.data.length) {
        throw new RangeError(`delta segment ${segment}: ${length} words at ${destination} do not fit ${target.name}`);
      }
      target.data.set(delta.data.subarray(source, source + length), destination);
    }
  };
};

type Segment = [target: number, destination: number, source: number, length: number];
