/** The thread that compiles and matches grammars. */
import { parentPort } from 'node:worker_threads';
import { type GrammarQuestion, GrammarServer } from '@quire/core/structured-output';

const parent = parentPort!;
const server = new GrammarServer(answer => parent.postMessage(answer));
parent.on('message', (question: GrammarQuestion) => server.ask(question));
