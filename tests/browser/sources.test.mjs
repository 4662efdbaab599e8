// Where checkpoints come from, and what the network does to them on the way.

import { strict as assert } from 'node:assert';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { load, openBlank, SOFTWARE, workersGone } from './engine.mjs';
import { browserTest } from './harness.mjs';
import { TOKENS, serveHub } from './hub.mjs';
import { readSafetensors } from './safetensors.mjs';

const TINY_A = '/fixtures/tiny-a/';
const WEIGHTS = /model\.safetensors$/;
const WEIGHTS_BYTES = 1_549_064;
const TIMEOUT_MS = 600_000;

/** The loaded model is tiny-a, every weight of it: its logits after a short prompt are official code's. */
async function assertLoaded(page) {
  const expected = readSafetensors(fileURLToPath(new URL('../fixtures/tiny-a/expected.safetensors', import.meta.url)));
  const ids = [...expected['p7.tokens'].data];
  const found = await page.evaluate(async (ids) => [...(await window.engine.logits(ids)).logits], ids);
  assert.equal(found.length, expected['p7.logits'].shape[1]);
  const last = expected['p7.logits'].data.slice(-found.length);
  last.forEach((logit, i) => assert.ok(Math.abs(found[i] - logit) < 0.05, `logit ${i}: ${found[i]}, expected ${logit}`));
}

/** What loading `source` fails with. */
async function failureOf(page, source, options = {}) {
  await openBlank(page);
  return page.evaluate(({ source, options }) => window.failure(window.MobileMoE.load(source, options)), { source, options });
}

const weightRequests = (server) => server.requests.filter(({ path }) => WEIGHTS.test(path));

for (const ignoreRange of [false, true]) {
  const name = `dropped connections are taken up again${ignoreRange ? ', even where the server ignores Range' : ''}`;
  browserTest(name, { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
    Object.assign(server.faults, { path: WEIGHTS, dropAfterBytes: 600_000, drops: 2, ignoreRange });
    await openBlank(page);
    const progress = await page.evaluate(async (source) => {
      const progress = [];
      window.engine = await window.MobileMoE.load(source, { onProgress: (step) => progress.push(step) });
      return progress;
    }, TINY_A);
    assert.equal(server.faults.drops, 0, 'both connections were cut');
    await assertLoaded(page);

    const resumed = weightRequests(server).filter(({ range }) => range);
    assert.ok(resumed.length >= 2 && resumed.every(({ status }) => status === (ignoreRange ? 200 : 206)));
    const sent = weightRequests(server).reduce((sum, request) => sum + request.bytes, 0);
    if (!ignoreRange) assert.ok(sent < 1.5 * WEIGHTS_BYTES, `${sent} bytes sent for a file of ${WEIGHTS_BYTES}`);

    const weights = progress.filter(({ stage }) => stage === 'weights');
    weights.reduce((before, { bytesDone }) => (assert.ok(bytesDone >= before), bytesDone), 0);
    assert.deepEqual([weights.at(-1).bytesDone, weights.at(-1).bytesTotal], [WEIGHTS_BYTES, WEIGHTS_BYTES]);
  });
}

browserTest('a connection that never holds is given up, in bounded time', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
  Object.assign(server.faults, { path: WEIGHTS, dropAfterBytes: 0 });
  const { code, message } = await failureOf(page, TINY_A);
  assert.equal(code, 'HttpConnection');
  assert.match(message, /model\.safetensors/);
  // Five failed reads, each of which may have cost five attempts to connect.
  const { length } = weightRequests(server);
  assert.ok(length >= 5 && length <= 25, `${length} requests`);
});

browserTest('a server that is gone, refuses, or has no checkpoint is told apart', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
  const cases = [
    ['http://127.0.0.1:9/', 'HttpConnection', /127\.0\.0\.1:9\/config\.json.*CORS/],
    ['/fixtures/nothing-here/', 'MissingFile', /config\.json/],
    ['ftp://example.org/model/', 'BadUrl', /http or https/],
    ['http://', 'BadUrl', /not a URL/],
  ];
  for (const [source, expected, pattern] of cases) {
    const { code, message } = await failureOf(page, source);
    assert.equal(code, expected, message);
    assert.match(message, pattern);
  }
  Object.assign(server.faults, { path: /config\.json$/, status: 403 });
  const refused = await failureOf(page, TINY_A);
  assert.equal(refused.code, 'AccessDenied');
  assert.match(refused.message, /config\.json.*403.*`token`.*local folder/);
});

browserTest('what a source stands for', {}, async ({ page, server }) => {
  await openBlank(page);
  const wire = (source, options = {}) => page.evaluate(async ({ source, options }) => {
    const { wireSource } = await import('/pkg/dist/source.js');
    try {
      return wireSource(source, options);
    } catch ({ code, message }) {
      return { code, message };
    }
  }, { source, options });
  const hub = 'https://huggingface.co';
  const id = 'facebook/MobileMoE-S-QAT';
  const onHub = (hub, tag) => ({ url: `${hub}/${id}/resolve/${tag}/`, page: `${hub}/${id}`, listing: `${hub}/api/models/${id}/tree/${tag}?recursive=true` });
  const main = onHub(hub, 'main');
  const onTwo = { files: { 'config.json': `${hub}/c.json`, 'model.safetensors': 'https://cdn.example/w' } };
  const cases = [
    [id, {}, main],
    [id, { token: 'hf_x' }, { ...main, tokens: { [hub]: 'hf_x' } }],
    [id, { revision: 'refs/pr/1' }, onHub(hub, 'refs%2Fpr%2F1')],
    [id, { endpoint: 'https://mirror.example/hf/' }, onHub('https://mirror.example/hf', 'main')],
    [`${hub}/${id}`, {}, main],
    [`https://hf.co/${id}/`, {}, main],
    [`${hub}/${id}/tree/v2`, {}, onHub(hub, 'v2')],
    [`${hub}/${id}/resolve/main/`, {}, { url: `${hub}/${id}/resolve/main/` }],
    [`./${id}`, {}, { url: `${server.origin}/pages/${id}` }],
    ['models/tiny/', {}, { url: `${server.origin}/pages/models/tiny/` }],
    ['/models/tiny/config.json?key=1', { token: 't' }, { url: `${server.origin}/models/tiny/?key=1`, tokens: { [server.origin]: 't' } }],
    [onTwo, { token: 't' }, { files: onTwo.files, tokens: { [hub]: 't' } }],
    [onTwo, { token: { 'https://cdn.example/': 't' } }, { files: onTwo.files, tokens: { 'https://cdn.example': 't' } }],
    [{ files: { 'config.json': '/a1b2.json' } }, {}, { files: { 'config.json': `${server.origin}/a1b2.json` } }],
  ];
  for (const [source, options, web] of cases) assert.deepEqual((await wire(source, options)).web, web, JSON.stringify([source, options]));

  // Under which name its files are kept.
  const named = async (source, options) => {
    const { id, revision } = (await wire(source, options)).store ?? {};
    return [id, revision];
  };
  assert.deepEqual(await named(id), [id, 'main']);
  assert.deepEqual(await named(`https://hf.co/${id}/tree/v2`), [id, 'v2']);
  assert.deepEqual(await named(id, { endpoint: 'https://mirror.example/' }), [`https://mirror.example/${id}`, 'main']);
  assert.deepEqual(await named('/models/tiny/?signature=1'), [`${server.origin}/models/tiny`, '']);
  assert.deepEqual(await named('/models/tiny/config.json?signature=2'), [`${server.origin}/models/tiny`, '']);
  const [ofFiles, revision] = await named({ files: { 'config.json': 'https://a.example/c?signature=1', 'model.safetensors': 'https://b.example/w' } });
  assert.equal(ofFiles, 'https://a.example/c');
  assert.deepEqual(await named({ files: { 'model.safetensors': 'https://b.example/w', 'config.json': 'https://a.example/c?signature=2' } }), [ofFiles, revision]);
  assert.notEqual((await named({ files: { 'config.json': 'https://a.example/c', 'model.safetensors': 'https://b.example/other' } }))[1], revision);
  for (const source of ['pocket', 'synthetic-tiny', { files: { 'config.json': 'data:application/json,{}' } }]) assert.deepEqual(await named(source), [undefined, undefined]);
  assert.deepEqual(await named(id, { store: 'off' }), [undefined, undefined]);
  const refusals = [
    ['http://', {}, 'BadUrl', /not a URL/],
    ['/models/tiny/', { revision: 'main' }, 'BadOptions', /`revision`.*Hugging Face id/],
    ['/models/tiny/', { endpoint: hub }, 'BadOptions', /`endpoint`/],
    [{ files: {} }, { revision: 'main' }, 'BadOptions', /`revision`/],
    ['synthetic-tiny', { token: 't' }, 'BadOptions', /`token`.*web/],
    ['pocket', { integrity: { 'config.json': 'sha256-x' } }, 'BadOptions', /`integrity`.*web/],
    ['pocket', { store: 'only' }, 'BadOptions', /store: "only"/],
    [{ files: { a: 'https://a.example/a', b: 'https://b.example/b' } }, { token: 't' }, 'BadOptions', /several servers \(https:\/\/a\.example, https:\/\/b\.example\)/],
    [onTwo, { token: { 'https://evil.example': 't' } }, 'BadOptions', /https:\/\/evil\.example.*no file/],
  ];
  for (const [source, options, code, pattern] of refusals) {
    const refused = await wire(source, options);
    assert.equal(refused.code, code, JSON.stringify(refused));
    assert.match(refused.message, pattern);
  }
});

browserTest('Hugging Face ids, gated and not, through a mirror', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  const hub = await serveHub();
  try {
    const gated = 'facebook/MobileMoE-S-QAT';
    const licence = `${hub.origin}/${gated}`;
    const refusals = [
      [gated, {}, 'AccessDenied', ['401', `accept the licence at ${licence}`, '`token`', 'local folder']],
      [gated, { token: TOKENS.stranger }, 'AccessDenied', ['403', 'no access', `accept the licence at ${licence}`]],
      [gated, { token: 'hf_expired' }, 'AccessDenied', ['401', 'not valid']],
      ['owner/nothing', {}, 'RepositoryNotFound', [`${hub.origin}/owner/nothing`, 'private']],
      ['owner/nothing', { token: TOKENS.granted }, 'RepositoryNotFound', ['may not see it']],
      ['owner/open', { revision: 'v9' }, 'RevisionNotFound', ['/resolve/v9/']],
    ];
    for (const [source, options, code, parts] of refusals) {
      const refused = await failureOf(page, source, { endpoint: hub.origin, ...options });
      assert.equal(refused.code, code, refused.message);
      for (const part of parts) assert.ok(refused.message.includes(part), `${part}: ${refused.message}`);
    }

    hub.requests.length = 0;
    await load(page, gated, { endpoint: hub.origin, token: TOKENS.granted });
    await assertLoaded(page);
    assert.ok(hub.requests.length >= 3 && hub.requests.every(({ authorization }) => authorization === `Bearer ${TOKENS.granted}`));

    hub.requests.length = 0;
    await load(page, 'owner/open', { endpoint: hub.origin, revision: 'refs/pr/1' });
    const [listing, ...files] = hub.requests;
    assert.equal(listing.path, '/api/models/owner/open/tree/refs%2Fpr%2F1?recursive=true');
    assert.ok(files.every(({ path }) => path.startsWith('/owner/open/resolve/refs%2Fpr%2F1/')));
    assert.ok(hub.requests.every(({ authorization }) => !authorization));
  } finally {
    await hub.close();
  }
});

browserTest('files under URLs of their own', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  await openBlank(page);
  await page.evaluate(async (folder) => {
    // As a bundler leaves them: one inlined, one with a name that says nothing.
    const config = await (await fetch(`${folder}config.json`)).text();
    const weights = URL.createObjectURL(await (await fetch(`${folder}model.safetensors`)).blob());
    const files = { 'config.json': `data:application/json;base64,${btoa(config)}`, 'model.safetensors': weights };
    window.engine = await window.MobileMoE.load({ files });
  }, TINY_A);
  await assertLoaded(page);
  const missing = await failureOf(page, { files: { 'config.json': `${TINY_A}config.json` } });
  assert.deepEqual([missing.code, /model\.safetensors/.test(missing.message)], ['MissingFile', true]);
  const bad = await failureOf(page, { files: { 'config.json': 'ftp://example.org/config.json' } });
  assert.equal(bad.code, 'BadUrl');
});

/** Serves tiny-a as `answer(request, response, bytes)` does. */
async function withServer(answer, body) {
  const requests = [];
  const server = createServer(async (request, response) => {
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Allow-Headers', '*, Authorization');
    response.setHeader('Access-Control-Expose-Headers', 'Retry-After, Content-Encoding, Content-Range');
    if (request.method === 'OPTIONS') return response.end();
    requests.push({ path: request.url, authorization: request.headers.authorization, at: performance.now() });
    const bytes = await readFile(fileURLToPath(new URL(`..${TINY_A}${request.url.slice(1)}`, import.meta.url))).catch(() => undefined);
    if (!bytes) return response.writeHead(404).end();
    answer(request, response, bytes);
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  try {
    return await body(`http://127.0.0.1:${server.address().port}/`, requests);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

const CHUNKED = (request, response, bytes) => {
  response.writeHead(200, { 'Content-Type': 'application/octet-stream' });
  for (let at = 0; at < bytes.length; at += 100_000) response.write(bytes.subarray(at, at + 100_000));
  response.end();
};
const GZIPPED = (request, response, bytes) => {
  const packed = gzipSync(bytes);
  const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? '') ?? [];
  const part = packed.subarray(Number(from ?? 0));
  const range = from && { 'Content-Range': `bytes ${from}-${packed.length - 1}/${packed.length}` };
  response.writeHead(from ? 206 : 200, { 'Content-Encoding': 'gzip', 'Content-Length': part.length, ...range }).end(part);
};

for (const [how, answer] of [['tells no lengths', CHUNKED], ['keeps its files in gzip', GZIPPED]]) {
  browserTest(`a server that ${how}`, { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
    await withServer(answer, async (url) => {
      await openBlank(page);
      await load(page, url);
      await assertLoaded(page);
    });
  });
}

browserTest('gzip that nobody tells of is named', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  for (const file of ['config.json', 'model.safetensors']) {
    const answer = (request, response, bytes) => response.end(request.url.endsWith(file) ? gzipSync(bytes) : bytes);
    const { message } = await withServer(answer, (url) => failureOf(page, url));
    assert.match(message, new RegExp(`${file}.*gzip`));
  }
});

browserTest('a server that asks to wait is waited for, within reason', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  const asking = (wait) => (request, response, bytes) => {
    const busy = !asked.has(request.url) && asked.add(request.url) && /config\.json$/.test(request.url);
    if (busy) response.writeHead(429, { 'Retry-After': wait() }).end();
    else response.end(bytes);
  };
  let asked = new Set();
  for (const wait of [() => '2', () => new Date(Date.now() + 3000).toUTCString()]) {
    asked = new Set();
    await withServer(asking(wait), async (url, requests) => {
      await openBlank(page);
      const texts = await page.evaluate(async ({ url, variant }) => {
        const texts = [];
        window.engine = await window.MobileMoE.load(url, { variant, onProgress: ({ text }) => texts.push(text) });
        return texts;
      }, { url, variant: SOFTWARE });
      const waiting = texts.findIndex((text) => /^Waiting [23] s: the server is busy$/.test(text));
      assert.ok(waiting > 0 && texts[waiting + 1] === texts[waiting - 1], `${texts}`);
      const [first, second] = requests.filter(({ path }) => path === '/config.json');
      assert.ok(second.at - first.at > 1900, `came back after ${second.at - first.at} ms`);
    });
  }
  asked = new Set();
  const { code, message } = await withServer(asking(() => '3600'), (url) => failureOf(page, url));
  assert.equal(code, 'HttpStatus');
  assert.match(message, /429.*3600 seconds/);
});

browserTest('a token goes to the server that it is for, and to no other', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  const plain = (request, response, bytes) => response.end(bytes);
  await withServer(plain, (one, toOne) => withServer(plain, async (other, toOther) => {
    await openBlank(page);
    const files = { 'config.json': `${one}config.json`, 'model.safetensors': `${other}model.safetensors` };
    const unclear = await failureOf(page, { files }, { token: 'secret' });
    assert.equal(unclear.code, 'BadOptions');
    assert.equal(toOne.length + toOther.length, 0);
    await openBlank(page);
    await load(page, { files }, { token: { [one]: 'secret' } });
    assert.ok(toOne.length > 0 && toOne.every(({ authorization }) => authorization === 'Bearer secret'));
    assert.ok(toOther.length > 0 && toOther.every(({ authorization }) => authorization === undefined));
  }));
});

browserTest('an HTML page in place of a file is recognised', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  const html = createServer((_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html', 'Access-Control-Allow-Origin': '*' }).end('<!doctype html>Welcome');
  });
  await new Promise((ready) => html.listen(0, '127.0.0.1', ready));
  try {
    const { code, message } = await failureOf(page, `http://127.0.0.1:${html.address().port}/model/`);
    assert.equal(code, 'HttpHtml');
    assert.match(message, /model\/config\.json/);
  } finally {
    html.close();
  }
});

browserTest('a load can be aborted at any moment', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
  await openBlank(page);
  const abortAt = (wanted, source) => page.evaluate(async ({ wanted, source }) => {
    const controller = new AbortController();
    let failure;
    await new Promise((reached) => {
      const onProgress = ({ stage }) => stage === wanted && setTimeout(reached, 20);
      failure = window.failure(window.MobileMoE.load(source, { signal: controller.signal, onProgress }));
      failure.then(reached, reached);
    });
    controller.abort();
    return Promise.race([failure, new Promise((resolve) => setTimeout(resolve, 0, { code: 'not ended at once' }))]);
  }, { wanted, source });
  for (const stage of ['starting', 'opening', 'compiling', 'weights']) {
    // Slow enough that weights are still to come when the kernels are compiled.
    if (stage === 'weights') Object.assign(server.faults, { path: WEIGHTS, bytesPerSecond: 300_000 });
    const { code, name } = await abortAt(stage, '/fixtures/tiny-c/');
    assert.deepEqual([code, name], ['Aborted', 'AbortError'], stage);
    await workersGone(page);
  }
  const sent = weightRequests(server).at(-1).bytes;
  await page.waitForTimeout(2_000);
  assert.ok(weightRequests(server).at(-1).bytes < sent + 300_000, 'the download goes on after the abort');
});

browserTest('picked files, a folder of them, a directory handle: the same model', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  await openBlank(page);
  for (const how of ['files', 'folder', 'handle']) {
    await page.evaluate(async ({ how, folder }) => {
      let source = await window.pick(folder);
      if (how === 'folder') {
        for (const file of source) Object.defineProperty(file, 'webkitRelativePath', { value: `models/tiny/${file.name}` });
        const stray = new File(['{}'], 'config.json');
        Object.defineProperty(stray, 'webkitRelativePath', { value: 'models/tiny/old/config.json' });
        source.unshift(stray);
      }
      if (how === 'handle') {
        const directory = await (await navigator.storage.getDirectory()).getDirectoryHandle('tiny', { create: true });
        for (const file of source) {
          const writable = await (await directory.getFileHandle(file.name, { create: true })).createWritable();
          await writable.write(file);
          await writable.close();
        }
        source = directory;
      }
      window.engine?.dispose();
      window.engine = await window.MobileMoE.load(source);
    }, { how, folder: TINY_A });
    await assertLoaded(page);
  }
});

browserTest('damaged files are refused by name', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  await openBlank(page);
  const failures = await page.evaluate(async (folder) => {
    const { failure, pick, MobileMoE } = window;
    const weights = await (await fetch(`${folder}model.safetensors`)).blob();
    const config = await (await fetch(`${folder}config.json`)).json();
    const loading = async (changes) => failure(MobileMoE.load(await pick(folder, changes)));
    return {
      truncated: await loading({ 'model.safetensors': weights.slice(0, weights.size - 1000) }),
      noWeights: await loading({ 'model.safetensors': null }),
      noConfig: await loading({ 'config.json': null }),
      notJson: await loading({ 'config.json': '{"model_type": ' }),
      otherShape: await loading({ 'config.json': JSON.stringify({ ...config, hidden_size: 256, num_attention_heads: 4 }) }),
    };
  }, TINY_A);
  const expected = {
    truncated: ['Truncated', /model\.safetensors/],
    noWeights: ['MissingFile', /model\.safetensors/],
    noConfig: ['MissingFile', /config\.json/],
    notJson: ['ConfigJson', /config\.json/],
    otherShape: ['TensorShape', /model\.embed_tokens|layers/],
  };
  for (const [name, [code, message]] of Object.entries(expected)) {
    assert.equal(failures[name].code, code, `${name}: ${failures[name].message}`);
    assert.match(failures[name].message, message);
  }
});
