// A static server for the pages, the package and local checkpoints, on 127.0.0.1 only:
//   node scripts/serve.mjs [--port N] [--model DIR]...
// www/ is served at /, pkg/ at /pkg/, and each checkpoint folder at /models/<its name>/ (/models/ lists the names): first
// the folders given, then models/pocket, which comes with the project and is what the page is opened with.
// The browser tests import `serve` and make the network misbehave through `faults`.

import { createReadStream, existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const POCKET = join(ROOT, 'models', 'pocket');
const DEFAULT_PORT = 8000;
const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.webmanifest': 'application/manifest+json; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.jinja': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
};

/**
 * What a test can have go wrong, on requests whose path matches `path` (any, if undefined). May be changed while serving.
 * @typedef {object} Faults
 * @property {RegExp} [path]
 * @property {number} [bytesPerSecond] sends bodies no faster than this
 * @property {number} [dropAfterBytes] cuts the connection after so many bytes of a body
 * @property {number} [drops] how many connections to cut; endless if undefined
 * @property {boolean} [ignoreRange] answers 200 with the whole file whatever Range asks for
 * @property {number} [status] answers with this status and no file
 * @property {string} [version] the files are of this version: a part of their ETag
 */

/**
 * @typedef {object} Served one answered request, in the order of arrival
 * @property {string} method
 * @property {string} path
 * @property {string | undefined} range the request's Range header
 * @property {number} status
 * @property {number} bytes of the body handed to the connection
 */

/**
 * @param {{ port?: number, models?: string[], faults?: Faults, mounts?: Record<string, string>, headers?: Record<string, string> }} options
 *   `port` 0 takes a free one; `mounts` serves further folders, by URL prefix ("/fixtures/"); `headers` go with every file.
 * @returns {Promise<{ origin: string, faults: Faults, requests: Served[], close: () => Promise<void> }>}
 */
export async function serve({ port = 0, models = [], faults = {}, mounts = {}, headers: always = {} } = {}) {
  const { '/': root = join(ROOT, 'www'), ...others } = mounts;
  const folders = { '/pkg/': join(ROOT, 'pkg'), ...others };
  for (const model of models) folders[`/models/${encodeURIComponent(basename(resolve(model)))}/`] = resolve(model);
  folders['/'] = root;
  const listing = JSON.stringify(models.map((model) => basename(resolve(model))));

  /** @type {Served[]} */
  const requests = [];
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?', 1)[0];
    const served = { method: request.method ?? '', path, range: request.headers.range, status: 0, bytes: 0 };
    requests.push(served);
    const active = !faults.path || faults.path.test(path) ? faults : {};
    answer(request, response, path, served, active).catch((error) => {
      if (response.headersSent) response.destroy();
      else respond(response, served, 500, String(error));
    });
  });

  async function answer(request, response, path, served, active) {
    if (active.status) return respond(response, served, active.status, `Asked to answer ${active.status}`);
    if (request.method !== 'GET' && request.method !== 'HEAD') return respond(response, served, 405, 'Only GET and HEAD');
    if (path === '/models/') return respond(response, served, 200, listing, 'application/json');

    const found = await locate(path, folders);
    if (!found) return respond(response, served, 404, `Not found: ${path}`);
    const { file, size, modifiedMs } = found;
    const etag = `"${size.toString(16)}-${Math.round(modifiedMs).toString(16)}${active.version ?? ''}"`;
    const headers = {
      ...always,
      'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
      'Cache-Control': 'no-cache',
      ETag: etag,
    };
    if (!active.ignoreRange) headers['Accept-Ranges'] = 'bytes';
    if (request.headers['if-none-match'] === etag) return end(response, served, 304, headers);

    const ifRange = request.headers['if-range'];
    const ranged = !active.ignoreRange && request.headers.range && (!ifRange || ifRange === etag);
    const range = ranged ? parseRange(request.headers.range, size) : 'whole';
    if (range === 'unsatisfiable') return end(response, served, 416, { 'Content-Range': `bytes */${size}` });
    const [start, last] = range === 'whole' ? [0, size - 1] : range;
    headers['Content-Length'] = last - start + 1;
    if (range !== 'whole') headers['Content-Range'] = `bytes ${start}-${last}/${size}`;
    served.status = range === 'whole' ? 200 : 206;
    response.writeHead(served.status, headers);
    if (request.method === 'HEAD' || size === 0) return response.end();

    // A reader that goes away in the middle is no error of ours.
    const body = createReadStream(file, { start, end: last });
    await pipeline(body, spoil(active, served, response), response).catch(() => response.destroy());
  }

  await new Promise((ready, failed) => server.once('error', failed).listen(port, '127.0.0.1', () => ready(undefined)));
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    origin: `http://127.0.0.1:${address.port}`,
    faults,
    requests,
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}

/** The file a path names, by the first folder (in `folders`' order) whose prefix it has; undefined if none or outside it. */
async function locate(path, folders) {
  let name;
  const prefix = Object.keys(folders).find((prefix) => path.startsWith(prefix));
  try {
    name = decodeURIComponent(path.slice(prefix.length));
  } catch {
    return undefined;
  }
  // No way out of the folder, and nothing hidden.
  if (name.includes('\0') || name.split(/[/\\]/).some((part) => part.startsWith('.'))) return undefined;
  let file = join(folders[prefix], name);
  let found = await stat(file).catch(() => undefined);
  if (found?.isDirectory() && (name === '' || name.endsWith('/'))) {
    file = join(file, 'index.html');
    found = await stat(file).catch(() => undefined);
  }
  return found?.isFile() ? { file, size: found.size, modifiedMs: found.mtimeMs } : undefined;
}

/** A Range header of one range -> [first, last] byte; several ranges or another unit: the whole file, as RFC 9110 allows. */
function parseRange(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header);
  if (!match || (match[1] === '' && match[2] === '')) return 'whole';
  const suffix = match[1] === '';
  const start = suffix ? Math.max(0, size - Number(match[2])) : Number(match[1]);
  const last = suffix || match[2] === '' ? size - 1 : Math.min(Number(match[2]), size - 1);
  if (!suffix && match[2] !== '' && Number(match[2]) < start) return 'whole';
  return start > last ? 'unsatisfiable' : [start, last];
}

/** Passes a body on, counting it, at the pace and up to the point that the faults allow. */
function spoil(faults, served, response) {
  return new Transform({
    async transform(chunk, _encoding, done) {
      const allowed = faults.drops === 0 ? Infinity : (faults.dropAfterBytes ?? Infinity) - served.bytes;
      const part = chunk.length > allowed ? chunk.subarray(0, allowed) : chunk;
      if (faults.bytesPerSecond) await sleep((part.length / faults.bytesPerSecond) * 1000);
      served.bytes += part.length;
      this.push(part);
      if (part === chunk) return done();
      if (faults.drops !== undefined) faults.drops -= 1;
      await sleep(50); // Let what was allowed leave first.
      response.destroy();
    },
  });
}

function respond(response, served, status, text, type = 'text/plain; charset=utf-8') {
  served.status = status;
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text), 'Cache-Control': 'no-cache' });
  response.end(text);
}

function end(response, served, status, headers) {
  served.status = status;
  response.writeHead(status, headers).end();
}

async function main() {
  const { values } = parseArgs({ options: { port: { type: 'string' }, model: { type: 'string', multiple: true } } });
  const models = [...new Set([...(values.model ?? []), ...(existsSync(POCKET) ? [POCKET] : [])].map((model) => resolve(model)))];
  for (const model of models) {
    if (!(await stat(join(model, 'config.json')).catch(() => undefined))) {
      throw new Error(`--model ${model}: no config.json there; give the folder of a checkpoint`);
    }
  }
  const port = values.port === undefined ? DEFAULT_PORT : Number(values.port);
  if (!(Number.isInteger(port) && port >= 0 && port < 65536)) throw new Error(`--port ${values.port}: not a port`);
  const server = await serve({ port, models }).catch((error) => {
    if (error.code !== 'EADDRINUSE') throw error;
    if (values.port !== undefined) throw new Error(`Port ${port} is taken; choose another with --port`);
    return serve({ models });
  });
  // The page opens with the first: what was asked for, or else the pocket model.
  const [first] = models.map((model) => `/models/${encodeURIComponent(basename(resolve(model)))}/`);
  console.log(`Demo page: ${server.origin}/${first ? `?model=${first}` : ''}   (Ctrl-C stops the server)`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().catch((error) => {
    console.error(`serve: ${error.message}`);
    process.exitCode = 1;
  });
}
