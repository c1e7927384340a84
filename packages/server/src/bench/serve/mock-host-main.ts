/** An engine process whose device computes nothing, for what lies in front of it. */
import { runEngineHost } from '../../engine-process/run-host.ts';
import { openMockDevice } from '../mock-device.ts';

runEngineHost({ openDevice: () => openMockDevice({ counting: true }) });
