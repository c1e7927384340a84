export { openReferenceDevice, ReferenceDevice, type ReferenceDeviceOptions } from './device.ts';
