// A Hugging Face hub in small: repositories with revisions, one of them gated, answering with the hub's status codes and
// headers, from another origin than the page's.

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));

export const TOKENS = { granted: 'hf_granted', stranger: 'hf_stranger' };
const REPOSITORIES = {
  'owner/open': { folder: 'tiny-a', revisions: ['main', 'refs/pr/1'] },
  'facebook/MobileMoE-S-QAT': { folder: 'tiny-a', revisions: ['main'], gated: true },
};

/**
 * The hub's list of a repository's files: of large ones their SHA-256, of small ones what Git names them by.
 * @param {(name: string, bytes: Buffer) => Buffer} published what it says was published
 */
async function list(folder, published) {
  const entries = [];
  for (const path of await readdir(join(FIXTURES, folder))) {
    const bytes = published(path, await readFile(join(FIXTURES, folder, path)));
    const git = (data) => createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex');
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const large = path.endsWith('.safetensors');
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${bytes.length}\n`;
    entries.push({
      type: 'file', path, size: bytes.length, oid: git(large ? Buffer.from(pointer) : bytes),
      ...(large && { lfs: { oid: sha256, size: bytes.length, pointerSize: pointer.length } }),
    });
  }
  return JSON.stringify([...entries, { type: 'directory', oid: '0'.repeat(40), size: 0, path: 'onnx' }]);
}

/** @returns {Promise<{ origin: string, requests: { path: string, authorization?: string }[], close: () => Promise<void> }>} */
export async function serveHub({ published = (_name, bytes) => bytes } = {}) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const end = (status, headers = {}, body = '') => {
      const exposed = ['X-Error-Code', 'Content-Range', 'ETag'].join();
      response.writeHead(status, { 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': exposed, ...headers });
      response.end(body);
    };
    if (request.method === 'OPTIONS') return end(204, { 'Access-Control-Allow-Headers': 'Authorization, Range' });
    const { authorization } = request.headers;
    requests.push({ path: request.url, authorization });

    const [, listed, listedRevision] = /^\/api\/models\/([^/]+\/[^/]+)\/tree\/([^/?]+)\?recursive=true$/.exec(request.url) ?? [];
    const [, resolved, resolvedRevision, file] = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(request.url) ?? [];
    const [id, revision] = [listed ?? resolved, listedRevision ?? resolvedRevision];
    const token = authorization?.replace('Bearer ', '');
    const repository = REPOSITORIES[id];
    if (token && !Object.values(TOKENS).includes(token)) return end(401, {}, 'Invalid credentials');
    if (!repository) return end(token ? 404 : 401, { 'X-Error-Code': 'RepoNotFound' });
    if (repository.gated && token !== TOKENS.granted) return end(token ? 403 : 401, { 'X-Error-Code': 'GatedRepo' });
    if (!repository.revisions.includes(decodeURIComponent(revision))) return end(404, { 'X-Error-Code': 'RevisionNotFound' });
    if (listed) return end(200, { 'Content-Type': 'application/json' }, await list(repository.folder, published));
    const bytes = await readFile(join(FIXTURES, repository.folder, file)).catch(() => undefined);
    if (!bytes) return end(404, { 'X-Error-Code': 'EntryNotFound' });
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? NaN);
    if (Number.isNaN(start)) return end(200, { ETag: `"${file}"` }, bytes);
    end(206, { ETag: `"${file}"`, 'Content-Range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` }, bytes.subarray(start));
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    requests,
    close: () => new Promise((closed) => {
      server.close(closed);
      server.closeAllConnections();
    }),
  };
}
