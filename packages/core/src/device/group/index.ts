/** Devices that work on one model together. A rank is a thread or a process with a device of its own; the planner sees one Device. */
export { DeviceGroup } from './device-group.ts';
export type { FromRank, GroupPlace, RankPort, ToRank } from './messages.ts';
export { type RankServices, serveRank } from './rank-server.ts';
export { openRemoteDevice, RemoteDevice } from './remote-device.ts';
export { createSharedMemory, endGroup, SharedMemoryCommunicator } from './shared-memory-communicator.ts';
