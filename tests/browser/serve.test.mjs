// The server under the demo and the browser tests: what it says over HTTP, and the faults that tests ask of it.

import { strict as assert } from 'node:assert';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';

import { serve } from '../../scripts/serve.mjs';

const BODY = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251));
let folder, server, url;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mobilemoe-serve-'));
  await writeFile(join(folder, 'config.json'), '{}');
  await writeFile(join(folder, 'weights.safetensors'), BODY);
  server = await serve({ models: [folder] });
  url = `${server.origin}/models/${basename(folder)}/`;
});
after(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});
beforeEach(() => {
  for (const fault of Object.keys(server.faults)) delete server.faults[fault];
  server.requests.length = 0;
});

const weights = (headers = {}) => fetch(`${url}weights.safetensors`, { headers });
const bytes = async (response) => Buffer.from(await response.arrayBuffer());

test('a whole file, its length and type', async () => {
  const response = await weights();
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-length'), '100000');
  assert.equal(response.headers.get('accept-ranges'), 'bytes');
  assert.equal(response.headers.get('access-control-allow-origin'), null);
  assert.ok(BODY.equals(await bytes(response)));
  const json = await fetch(`${url}config.json`);
  assert.match(json.headers.get('content-type'), /^application\/json/);
  assert.deepEqual(await (await fetch(`${server.origin}/models/`)).json(), [basename(folder)]);
});

for (const [range, first, last] of [
  ['bytes=0-0', 0, 0],
  ['bytes=10-19', 10, 19],
  ['bytes=99990-', 99_990, 99_999],
  ['bytes=99990-200000', 99_990, 99_999],
  ['bytes=-5', 99_995, 99_999],
]) {
  test(`Range: ${range}`, async () => {
    const response = await weights({ Range: range });
    assert.equal(response.status, 206);
    assert.equal(response.headers.get('content-range'), `bytes ${first}-${last}/100000`);
    assert.ok(BODY.subarray(first, last + 1).equals(await bytes(response)));
  });
}

test('a range past the end is 416 and says the size', async () => {
  const response = await weights({ Range: 'bytes=100000-' });
  assert.equal(response.status, 416);
  assert.equal(response.headers.get('content-range'), 'bytes */100000');
});

test('ETag: 304 when unchanged; If-Range with an old one gives the whole file', async () => {
  const etag = (await weights()).headers.get('etag');
  // Node's fetch would answer a 304 itself; ask plainly.
  const status = await new Promise((resolve, reject) =>
    http.get(`${url}weights.safetensors`, { headers: { 'If-None-Match': etag } }, (r) => resolve(r.resume().statusCode))
      .on('error', reject));
  assert.equal(status, 304);
  assert.equal((await weights({ Range: 'bytes=5-', 'If-Range': etag })).status, 206);
  assert.equal((await weights({ Range: 'bytes=5-', 'If-Range': '"old"' })).status, 200);
});

test('nothing outside the served folders', async () => {
  const { port } = new URL(server.origin);
  const ask = (path) => new Promise((resolve, reject) =>
    http.get({ host: '127.0.0.1', port, path }, (response) => resolve(response.resume().statusCode)).on('error', reject));
  assert.equal(await ask('/../package.json'), 404);
  assert.equal(await ask('/pkg/%2e%2e/package.json'), 404);
  assert.equal(await ask('/pkg/..%2fpackage.json'), 404);
  assert.equal(await ask('/models/%E0%A4%A'), 404);
  assert.equal(await ask(`/models/${basename(folder)}/none.json`), 404);
});

test('fault: the connection drops after so many bytes, so many times', async () => {
  Object.assign(server.faults, { dropAfterBytes: 30_000, drops: 1 });
  const response = await weights();
  let received = 0;
  await assert.rejects(async () => {
    for await (const chunk of response.body) received += chunk.length;
  });
  assert.equal(received, 30_000);
  assert.equal((await bytes(await weights({ Range: 'bytes=30000-' }))).length, 70_000);
  assert.deepEqual(server.requests.map(({ range, status, bytes }) => [range, status, bytes]), [
    [undefined, 200, 30_000],
    ['bytes=30000-', 206, 70_000],
  ]);
});

test('fault: Range ignored', async () => {
  server.faults.ignoreRange = true;
  const response = await weights({ Range: 'bytes=10-' });
  assert.equal(response.status, 200);
  assert.equal((await bytes(response)).length, 100_000);
});

test('fault: a slow line', async () => {
  server.faults.bytesPerSecond = 500_000;
  const start = performance.now();
  await bytes(await weights());
  assert.ok(performance.now() - start >= 195, 'at 500 kB/s, 100 kB take 200 ms');
});

test('fault: an error status, on the paths meant', async () => {
  Object.assign(server.faults, { status: 503, path: /safetensors$/ });
  assert.equal((await weights()).status, 503);
  assert.equal((await fetch(`${url}config.json`)).status, 200);
});
