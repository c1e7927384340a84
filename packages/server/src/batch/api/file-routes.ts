import { ByteStream, jsonReply } from '../../http/reply.ts';
import type { Router } from '../../http/router.ts';
import type { FileStore } from './file-store.ts';
import { pageOf } from './ids.ts';
import { pageQuery } from './page-query.ts';
import { receiveUpload } from './upload.ts';

/** /v1/files as OpenAI has it. */
export function handleFiles(routes: Router, files: FileStore, maxBytes: number): void {
  routes
    .add('/v1/files', {
      GET: ({ query }) => {
        const purpose = query.get('purpose');
        const found = files.list().filter(file => purpose === null || file.purpose === purpose);
        const { after, limit } = pageQuery(query, 10_000);
        return jsonReply(pageOf(query.get('order') === 'asc' ? found.reverse() : found, after, limit));
      },
      POST: async request => jsonReply(await receiveUpload(request, files, maxBytes)),
    })
    .add('/v1/files/*/content', {
      GET: (_, id) => {
        const { bytes } = files.get(id);
        return {
          status: 200,
          headers: { 'content-type': 'application/octet-stream' },
          body: new ByteStream(bytes, files.contents(id)),
        };
      },
    })
    .add('/v1/files/*', {
      GET: (_, id) => jsonReply(files.get(id)),
      DELETE: async (_, id) => {
        await files.delete(id);
        return jsonReply({ id, object: 'file', deleted: true });
      },
    });
}
