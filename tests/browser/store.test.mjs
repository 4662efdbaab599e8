// Models kept on the device: fetched once, resumed, proven, shared by several tabs.

import { strict as assert } from 'node:assert';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { load, openBlank } from './engine.mjs';
import { browserTest } from './harness.mjs';
import { serveHub } from './hub.mjs';

const TINY_A = '/fixtures/tiny-a/';
const POCKET = '/pkg/models/pocket/';
const CHUNK_BYTES = 1 << 20;
const TIMEOUT_MS = 300_000;
const WEIGHTS = 'model.safetensors';
const FULL = process.env.MOBILEMOE_STORE === 'full'; // `npm run test:long`

const bytesOf = (folder, name) => readFile(fileURLToPath(new URL(`../../${folder.replace('/fixtures', 'tests/fixtures').replace('/pkg/models/pocket', 'pkg/models/pocket')}${name}`, import.meta.url)));

/** Requests for the files in `folder`, from the `from`-th on. */
const requestsTo = (server, folder, from = 0) => server.requests.slice(from).filter(({ path }) => path.startsWith(folder));
const sentBytes = (requests) => requests.reduce((sum, { bytes }) => sum + bytes, 0);

/** A fresh document: no engine, no worker, as after a reload. */
async function reopen(page) {
  await page.goto('about:blank');
  await openBlank(page);
}

/** What a call on the page's `store` gives, or fails with. */
const call = (page, method, ...args) => page.evaluate(async ({ method, args }) => {
  try {
    return { result: await window.store[method](...args) };
  } catch ({ code, message }) {
    return { code, message };
  }
}, { method, args });

/** Changes stored bytes behind the store's back. `change(bytes)` runs in the page. */
async function damage(page, name, change, argument) {
  await page.evaluate(async ({ name, change, argument }) => {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('mobilemoe');
    for await (const folder of root.values()) {
      const handle = await folder.getFileHandle(name).catch(() => undefined);
      if (!handle) continue;
      const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
      const changed = new Function(`return (${change})`)()(bytes, argument);
      const writable = await handle.createWritable();
      await writable.write(changed);
      await writable.close();
    }
  }, { name, change: change.toString(), argument });
}

const answerOf = (page) => page.evaluate(async () => (await window.engine.chat.completions.create({ messages: [{ role: 'user', content: 'Once' }], temperature: 0, max_tokens: 12 })).choices[0].message.content);

browserTest('fetched once: the second visit comes from the device, also without a network', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
  const first = await load(page, POCKET);
  assert.deepEqual([first.stored.complete, first.stored.verified, first.stored.bytesRead, first.stored.reason], [true, 'none', 0, null]);
  assert.equal(first.stored.id, `${server.origin}/pkg/models/pocket`);
  const text = await answerOf(page);

  let seen = server.requests.length;
  await reopen(page);
  const second = await load(page, POCKET);
  assert.equal(await answerOf(page), text);
  const asked = requestsTo(server, POCKET, seen);
  assert.equal(sentBytes(asked), 0, JSON.stringify(asked));
  assert.ok(asked.every(({ method }) => method === 'HEAD'), 'it is only asked whether the files are the same');
  assert.deepEqual([second.stored.bytesFetched, second.stored.bytesRead > 4_300_000], [0, true]);

  seen = server.requests.length;
  await reopen(page);
  const only = await load(page, POCKET, { store: 'only' });
  assert.deepEqual(requestsTo(server, POCKET, seen), []);
  assert.equal(only.stored.complete, true);
  assert.equal(await answerOf(page), text);

  server.faults.path = /\/models\/pocket\//;
  server.faults.status = 503;
  await reopen(page);
  assert.equal((await load(page, POCKET)).stored.bytesFetched, 0, 'a server that is down is no reason not to load');
  assert.equal(await answerOf(page), text);
  const off = await page.evaluate((source) => window.failure(window.MobileMoE.load(source, { store: 'off' })), POCKET);
  assert.equal(off.code, 'HttpStatus');
});

browserTest('what is stored is listed, exported, verified, deleted', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
  await openBlank(page);
  const id = `${server.origin}/fixtures/tiny-a`;
  assert.deepEqual((await call(page, 'list')).result, []);
  assert.equal((await call(page, 'has', TINY_A)).result, false);
  for (const method of ['verify', 'delete', 'export']) assert.equal((await call(page, method, id)).code, 'NotStored', method);
  const only = await page.evaluate((source) => window.failure(window.MobileMoE.load(source, { store: 'only' })), TINY_A);
  assert.equal(only.code, 'NotStored');

  const progress = await page.evaluate(async (source) => {
    const progress = [];
    const stored = await window.store.download(source, { onProgress: (step) => progress.push(step) });
    return { stored, progress };
  }, TINY_A);
  assert.ok(progress.stored.complete);
  const last = progress.progress.at(-1);
  assert.deepEqual([last.stage, last.fraction, last.bytesDone], ['ready', 1, last.bytesTotal]);
  assert.equal((await call(page, 'has', TINY_A)).result, true);

  const [model, ...others] = (await call(page, 'list')).result;
  assert.equal(others.length, 0);
  const weights = await bytesOf(TINY_A, WEIGHTS);
  assert.deepEqual([model.id, model.revision, model.complete, model.verified], [id, '', true, 'none']);
  assert.ok(model.bytes > weights.length && model.bytes === model.bytesTotal);
  assert.ok(Math.abs(model.lastUsed - Date.now()) < 600_000, `last used ${model.lastUsed}`);

  assert.deepEqual((await call(page, 'verify', id)).result, []);
  const exported = await page.evaluate(async (id) => {
    const files = await window.store.export(id);
    return Promise.all(files.map(async (file) => ({ name: file.name, sha256: [...new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()))] })));
  }, id);
  assert.deepEqual(exported.map(({ name }) => name).sort(), ['config.json', WEIGHTS]);
  const { sha256 } = exported.find(({ name }) => name === WEIGHTS);
  assert.equal(Buffer.from(sha256).toString('hex'), createHash('sha256').update(weights).digest('hex'));

  const { usedBytes, quotaBytes } = (await call(page, 'estimate')).result;
  assert.ok(usedBytes > weights.length && quotaBytes > usedBytes);

  await damage(page, WEIGHTS, (bytes) => ((bytes[1_200_000] ^= 1), bytes));
  const expected = [{ file: WEIGHTS, offsetBytes: CHUNK_BYTES, endBytes: weights.length }];
  assert.deepEqual((await call(page, 'verify', id)).result, expected);

  await call(page, 'delete', id);
  assert.deepEqual((await call(page, 'list')).result, []);
  assert.equal((await call(page, 'has', TINY_A)).result, false);
});

browserTest('files that the user has are copied in, and opened by their id', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
  await openBlank(page);
  const stored = await page.evaluate(async (source) => window.store.importFiles(await window.pick(source), { id: 'owner/imported' }), TINY_A);
  assert.deepEqual([stored.id, stored.revision, stored.complete], ['owner/imported', 'main', true]);
  const seen = server.requests.length;
  const facts = await load(page, 'owner/imported', { store: 'only' });
  assert.equal(facts.stored.bytesFetched, 0);
  assert.deepEqual(requestsTo(server, TINY_A, seen), []);
  const broken = await page.evaluate(async (source) => window.failure(window.store.importFiles(await window.pick(source, { 'model.safetensors': null }))), TINY_A);
  assert.equal(broken.code, 'MissingFile');
});

browserTest('wrong bytes on the device are found, named, and those chunks alone are fetched again', { timeoutMs: FULL ? 3_600_000 : TIMEOUT_MS }, async ({ page, server }) => {
  await openBlank(page);
  await call(page, 'download', POCKET);
  const weights = await bytesOf(POCKET, WEIGHTS);
  const damages = {
    flip: (bytes, at) => ((bytes[at] ^= 0x10), bytes),
    truncate: (bytes, at) => bytes.slice(0, at),
    zero: (bytes, at) => bytes.fill(0, at, at + 4096),
    swap: (bytes, at) => {
      const [a, b] = [at >> 20, at >> 20 === 0 ? 1 : 0].map((chunk) => chunk << 20);
      if (b + (1 << 20) > bytes.length || a + (1 << 20) > bytes.length) return ((bytes[at] ^= 1), bytes);
      const kept = bytes.slice(a, a + (1 << 20));
      bytes.copyWithin(a, b, b + (1 << 20));
      bytes.set(kept, b);
      return bytes;
    },
  };
  const kinds = Object.keys(damages);
  let fetched = 0;
  for (let round = 0; round < (FULL ? 1000 : 12); round += 1) {
    const kind = kinds[round % kinds.length];
    const at = Math.floor(((round * 0.6180339887) % 1) * weights.length);
    await damage(page, WEIGHTS, damages[kind], at);
    const seen = server.requests.length;
    const { result, ...failure } = await call(page, 'download', POCKET);
    assert.ok(result, `${kind} at ${at}: ${JSON.stringify(failure)}`);
    const healed = result.healed.reduce((sum, { offsetBytes, endBytes }) => sum + endBytes - offsetBytes, 0);
    assert.ok(healed > 0, `${kind} at ${at} was not found`);
    assert.ok(result.healed.every(({ file, offsetBytes, endBytes }) => file === WEIGHTS && (kind === 'truncate' || kind === 'swap' || (offsetBytes <= at + 4096 && at < endBytes))), `${kind} at ${at}: ${JSON.stringify(result.healed)}`);
    assert.equal(result.bytesFetched, healed, 'only what was wrong was fetched');
    const gets = requestsTo(server, POCKET, seen).filter(({ method }) => method === 'GET');
    assert.equal(sentBytes(gets), healed);
    fetched += healed;
  }
  assert.deepEqual((await call(page, 'verify', `${server.origin}/pkg/models/pocket`)).result, []);

  // An index that lies, cut short or gone: what it does not vouch for is fetched again.
  for (const change of [(bytes) => bytes.slice(0, bytes.length / 2), (bytes) => bytes.fill(65), () => new Uint8Array()]) {
    for (const index of ['mobilemoe-store.index', 'mobilemoe-store.index2']) await damage(page, index, change);
    assert.ok((await call(page, 'download', POCKET)).result.complete);
    assert.deepEqual((await call(page, 'verify', `${server.origin}/pkg/models/pocket`)).result, []);
  }
  await load(page, POCKET, { store: 'only' });
});

browserTest('a download that ends anywhere goes on where it was', { timeoutMs: FULL ? 3_600_000 : TIMEOUT_MS }, async ({ page, context, server }) => {
  await openBlank(page);
  const weights = await bytesOf(POCKET, WEIGHTS);
  const id = `${server.origin}/pkg/models/pocket`;
  server.faults.path = /model\.safetensors$/;
  server.faults.bytesPerSecond = FULL ? 20_000_000 : 8_000_000;
  for (let round = 0; round < (FULL ? 200 : 6); round += 1) {
    const stopAt = Math.floor(((round * 0.7548776662) % 1) * weights.length);
    const kind = ['abort', 'close', 'drop'][round % 3];
    if (kind === 'drop') Object.assign(server.faults, { dropAfterBytes: stopAt, drops: 1 });
    const visitor = await context.newPage();
    await openBlank(visitor);
    const ended = visitor.evaluate(async ({ source, stopAt, kind }) => {
      const abort = new AbortController();
      const reached = new Promise((resolve) => {
        const onProgress = ({ bytesDone }) => bytesDone > stopAt && resolve();
        window.store.download(source, { signal: abort.signal, onProgress }).catch(() => {}).finally(resolve);
      });
      await reached;
      if (kind === 'abort') abort.abort();
    }, { source: POCKET, stopAt, kind });
    await ended;
    await visitor.close();
    const [model] = (await call(page, 'list')).result;
    const there = model?.bytes ?? 0;

    const seen = server.requests.length;
    const result = (await call(page, 'download', POCKET)).result;
    assert.ok(result.complete, `${kind} at ${stopAt}`);
    const begun = requestsTo(server, POCKET, seen).filter(({ method, path }) => method === 'GET' && path.endsWith(WEIGHTS));
    if (there > 0 && kind !== 'drop') {
      assert.ok(begun.length <= 1, JSON.stringify(begun));
      const from = Number(/^bytes=(\d+)-/.exec(begun[0]?.range ?? `bytes=${weights.length}-`)[1]);
      assert.ok(from % CHUNK_BYTES === 0 || from === weights.length, `resumed at ${from}`);
      assert.ok(result.bytesFetched <= model.bytesTotal - there + CHUNK_BYTES, `${result.bytesFetched} bytes came, ${there} were there`);
    }
    assert.deepEqual((await call(page, 'verify', id)).result, []);
    await call(page, 'delete', id);
  }
});

browserTest('a file that changes on the server starts anew', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
  await openBlank(page);
  await call(page, 'download', TINY_A);
  server.faults.version = 'second';
  let { result } = await call(page, 'download', TINY_A);
  assert.ok(result.complete && result.bytesFetched > 1_500_000, JSON.stringify(result));
  ({ result } = await call(page, 'download', TINY_A));
  assert.equal(result.bytesFetched, 0);

  // Half of it is there when it changes.
  server.faults.version = 'third';
  Object.assign(server.faults, { path: /model\.safetensors$/, bytesPerSecond: 2_000_000 });
  await page.evaluate(async (source) => {
    const abort = new AbortController();
    const onProgress = ({ bytesDone }) => bytesDone > 1_200_000 && abort.abort();
    await window.store.download(source, { signal: abort.signal, onProgress }).catch(() => {});
  }, TINY_A);
  server.faults.path = server.faults.bytesPerSecond = undefined;
  server.faults.version = 'fourth';
  ({ result } = await call(page, 'download', TINY_A));
  assert.ok(result.complete && result.bytesFetched > 1_500_000, JSON.stringify(result));
});

browserTest('five tabs fetch a model once', { timeoutMs: TIMEOUT_MS }, async ({ page, context, server }) => {
  server.faults.path = /model\.safetensors$/;
  server.faults.bytesPerSecond = 4_000_000;
  const pages = [page, ...(await Promise.all([1, 2, 3, 4].map(() => context.newPage())))];
  for (const page of pages) await openBlank(page);
  const results = await Promise.all(pages.map((page) => page.evaluate(async (source) => {
    const stages = new Set();
    const stored = await window.store.download(source, { onProgress: ({ stage }) => stages.add(stage) });
    return { stored, waited: stages.has('waiting') };
  }, POCKET)));
  assert.equal(results.filter(({ waited }) => waited).length, 4);
  assert.ok(results.every(({ stored }) => stored.complete));
  assert.equal(results.filter(({ stored }) => stored.bytesFetched > 0).length, 1);
  const gets = requestsTo(server, POCKET).filter(({ method, path }) => method === 'GET' && path.endsWith(WEIGHTS));
  assert.equal(gets.length, 1, JSON.stringify(gets));

  // What is being stored cannot be deleted or verified meanwhile.
  await call(page, 'clear');
  const busy = await page.evaluate(async (source) => {
    let failed;
    const onProgress = ({ bytesDone }) => bytesDone > 0 && (failed ??= window.failure(window.store.clear()));
    await window.store.download(source, { onProgress });
    return failed;
  }, POCKET);
  assert.equal(busy.code, 'StoreBusy');
});

browserTest('no room is no obstacle: the model loads and says why it is not kept', { timeoutMs: TIMEOUT_MS }, async ({ page, context, server }) => {
  await openBlank(page);
  const cdp = await context.newCDPSession(page);
  await call(page, 'download', TINY_A);
  const { usedBytes } = (await call(page, 'estimate')).result;
  for (let round = 0; round < (FULL ? 20 : 3); round += 1) {
    const room = Math.floor(((round * 0.7548776662) % 1) * 4_000_000);
    await cdp.send('Storage.overrideQuotaForOrigin', { origin: server.origin, quotaSize: usedBytes + room });
    await reopen(page);
    const { stored } = await load(page, POCKET);
    assert.deepEqual([stored.complete, stored.reason?.code], [false, 'StoreQuota'], `room for ${room} bytes: ${JSON.stringify(stored)}`);
    assert.match(stored.reason.message, /tiny-a \(\d+ bytes\)/, 'what could be deleted is named');
    assert.equal((await call(page, 'download', POCKET)).code, 'StoreQuota');
    assert.equal((await call(page, 'has', TINY_A)).result, true, 'and nothing is deleted unasked');
  }
  await cdp.send('Storage.overrideQuotaForOrigin', { origin: server.origin });
  assert.ok((await call(page, 'download', POCKET)).result.complete);
});

browserTest('without a private file system models load as ever', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  await openBlank(page);
  const { stored, failure } = await page.evaluate(async (source) => {
    const script = (text) => URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
    const without = script('delete StorageManager.prototype.getDirectory;');
    const both = script(`import '${without}'; import '${new URL('/pkg/dist/worker.js', location.href)}';`);
    const worker = () => new Worker(both, { type: 'module' });
    const engine = await window.MobileMoE.load(source, { worker, variant: { decode: 'thread', prefill: 'thread' } });
    return { stored: engine.facts.stored, failure: await window.failure(window.store.download(source, { worker })) };
  }, TINY_A);
  assert.deepEqual([stored.complete, stored.reason.code], [false, 'StoreUnavailable']);
  assert.equal(failure.code, 'StoreUnavailable');
});

browserTest('files are held against what the hub and the caller say of them', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  await openBlank(page);
  const hub = await serveHub();
  const liar = await serveHub({ published: (name, bytes) => (name === WEIGHTS ? Buffer.concat([bytes.subarray(1), bytes.subarray(0, 1)]) : bytes) });
  try {
    const options = { endpoint: hub.origin };
    const { result } = await call(page, 'download', 'owner/open', options);
    assert.deepEqual([result.complete, result.verified], [true, 'sha256']);
    assert.ok(!hub.requests.some(({ path }) => path.endsWith('tokenizer.json')), 'what the hub does not list is not asked for');
    const again = (await call(page, 'download', 'owner/open', options)).result;
    assert.equal(again.bytesFetched, 0);

    const wrong = await call(page, 'download', 'owner/open', { endpoint: liar.origin });
    assert.equal(wrong.code, 'Integrity');
    assert.match(wrong.message, /model\.safetensors.*sha256:[0-9a-f]{64}.*expected sha256:[0-9a-f]{64}/);
  } finally {
    await hub.close();
    await liar.close();
  }
  const sri = `sha384-${createHash('sha384').update(await bytesOf(TINY_A, WEIGHTS)).digest('base64')}`;
  const { result } = await call(page, 'download', TINY_A, { integrity: { [WEIGHTS]: sri, 'config.json': `sha256-${createHash('sha256').update(await bytesOf(TINY_A, 'config.json')).digest('base64')}` } });
  assert.equal(result.verified, 'sri');
  const other = `sha384-${createHash('sha384').update('something else').digest('base64')}`;
  for (const store of ['auto', 'off']) {
    const options = { store, integrity: { [WEIGHTS]: other }, variant: { decode: 'thread', prefill: 'thread' } };
    const failure = await page.evaluate(({ source, options }) => window.failure(window.MobileMoE.load(source, options)), { source: TINY_A, options });
    assert.equal(failure.code, 'Integrity', `${store}: ${failure.message}`);
  }
  const bad = await page.evaluate((source) => window.failure(window.MobileMoE.load(source, { integrity: { 'config.json': 'md5-x' } })), TINY_A);
  assert.equal(bad.code, 'BadOptions');
});
