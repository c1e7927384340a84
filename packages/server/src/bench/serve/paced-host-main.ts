/** As mock-host-main, at 50 steps a second: slow enough for a front end that sends every token by itself. */
import { runEngineHost } from '../../engine-process/run-host.ts';
import { openMockDevice } from '../mock-device.ts';

runEngineHost({ openDevice: () => openMockDevice({ counting: true, stepMs: 20 }) });
