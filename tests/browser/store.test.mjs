// Models kept on the device: fetched once, resumed, proven, shared by several tabs.

import { strict as assert } from 'node:assert';

import { load, openBlank } from './engine.mjs';
import { browserTest } from './harness.mjs';

const TINY_A = '/fixtures/tiny-a/';
const TIMEOUT_MS = 300_000;

/** Bytes that the server sent of the model since `from`. */
const sentBytes = (server, from = 0) => server.requests.slice(from).filter(({ path }) => path.startsWith(TINY_A)).reduce((sum, { bytes }) => sum + bytes, 0);

browserTest('a second visit fetches nothing: the files are on the device', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
  const first = await load(page, TINY_A);
  console.log(first.stored, server.requests.filter(({ path }) => path.startsWith(TINY_A)));
  assert.ok(first.stored.complete, JSON.stringify(first.stored));
  const seen = server.requests.length;
  await page.reload();
  const second = await page.evaluate(() => 0).then(() => load(page, TINY_A));
  console.log(second.stored, server.requests.slice(seen).filter(({ path }) => path.startsWith(TINY_A)));
  assert.equal(sentBytes(server, seen), 0);
});
