/** The process in which an engine computes. Its fourth file is the way to the front end. */
import { runEngineHost } from './run-host.ts';

runEngineHost();
