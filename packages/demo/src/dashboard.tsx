/** The page as `quire serve --ui` serves it: the engine is the server's. */
import { ServerEnd } from './engine/server-end.ts';
import { showPage } from './page.tsx';

showPage(new ServerEnd());
