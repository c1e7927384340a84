import type { Communicator } from '../../contract/contract.ts';

/** The communicator of a device that is no rank of a group: there is nobody to wait for. */
export const alone: Communicator = {
  rank: 0,
  size: 1,
  allReduce: () => {},
  allGather: (data, into) => into.set(data),
  barrier: () => {},
  end: () => {},
};
