// The packed package in fresh apps: a plain page, Vite (built, and its development server), webpack, and Node's import.
// Each chats with the pocket model in Chromium, under a Content-Security-Policy that forbids what it does not need.

import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import * as esbuild from 'esbuild';
import * as vite from 'vite';
import * as vite7 from 'vite7';
import webpack from 'webpack';

import { serve } from '../../scripts/serve.mjs';
import { coreBytes } from '../../scripts/sizes.mjs';
import { withBrowser } from './harness.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const APPS = join(ROOT, 'target/apps');
const CORE_LIMIT_BYTES = 900_000; // in brotli
const TIMEOUT_MS = 300_000;
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";

/** Kernels are measured at an adapter's first load, which takes a software GPU a while: the plain page does that, the others say. */
const MAIN = `
import { MobileMoE } from 'mobilemoe-web';

const engine = await MobileMoE.load('pocket', { variant: { decode: 'thread', prefill: 'thread' } });
const messages = [{ role: 'user', content: 'Hello' }];
const stream = await engine.chat.completions.create({ messages, max_tokens: 4, stream: true });
let text = '';
for await (const { choices } of stream) text += choices[0].delta.content ?? '';
const response_format = { type: 'regex', regex: '(yes|no)' };
const { choices } = await engine.chat.completions.create({ messages, response_format });
document.body.dataset.answer = JSON.stringify([text, choices[0].message.content]);
`;
const html = (script) => `<!doctype html><meta charset="utf-8"><title>App</title><body><script type="module" src="${script}"></script>`;

/** npm, quiet and off the network. */
function npm(folder, ...args) {
  return execFileSync('npm', [...args, '--offline', '--no-audit', '--no-fund', '--silent'], { cwd: folder, encoding: 'utf8' });
}

/** A fresh app with the packed package installed. */
async function app(name, files) {
  const folder = join(APPS, name);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name, private: true, type: 'module' }));
  for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text);
  npm(folder, 'install', join(APPS, 'mobilemoe-web-0.1.0.tgz'));
  return folder;
}

/** The page at `address` has chatted. */
async function assertChats(page, address) {
  await page.goto(address);
  const answer = page.locator('body[data-answer]');
  await answer.waitFor({ state: 'attached', timeout: 120_000 });
  const [text, choice] = JSON.parse(await answer.getAttribute('data-answer'));
  assert.ok(text.length > 0);
  assert.match(choice, /^(yes|no)$/);
}

/** A folder that chats when it is served, nothing going wrong. */
async function assertServes(folder) {
  await withBrowser({ mounts: { '/app/': folder }, headers: { 'Content-Security-Policy': POLICY } }, async ({ page, problems }) => {
    await assertChats(page, '/app/');
    assert.deepEqual(problems, []);
  });
}

test('the packed package', { timeout: TIMEOUT_MS }, async (t) => {
  await rm(APPS, { recursive: true, force: true });
  await mkdir(APPS, { recursive: true });
  const [{ filename, files }] = JSON.parse(npm(join(ROOT, 'pkg'), 'pack', '--json', '--pack-destination', APPS));

  await t.test('has what it needs and nothing else', async () => {
    const names = files.map(({ path }) => path);
    assert.equal(filename, 'mobilemoe-web-0.1.0.tgz');
    const expected = /^(dist\/[\w-]+\.(js|js\.map|d\.ts)|wasm\/mobilemoe_(web|constrain)(_bg)?\.(js|wasm|d\.ts|wasm\.d\.ts)|models\/pocket\/[\w.]+|package\.json|README\.md|LICENSE-(MIT|APACHE))$/;
    assert.deepEqual(names.filter((name) => !expected.test(name)), []);
    for (const name of ['models/pocket/model.safetensors', 'dist/index.d.ts', 'dist/worker.js', 'dist/ai-sdk.js', 'dist/prompt-api.js', 'wasm/mobilemoe_web_bg.wasm', 'README.md', 'LICENSE-MIT']) {
      assert.ok(names.includes(name), name);
    }
    assert.ok([9, 11].some((quality) => coreBytes(quality) <= CORE_LIMIT_BYTES), 'the core takes more than 900 kB in brotli');
  });

  await t.test('runs from a plain page', async () => {
    const folder = await app('plain', {
      'main.js': MAIN.replace("'mobilemoe-web'", "'./node_modules/mobilemoe-web/dist/index.js'").replace(/'pocket', \{ variant.*\}/, ''),
    });
    await writeFile(join(folder, 'index.html'), html('main.js'));
    await assertServes(folder);
  });

  await t.test('runs from an app that Vite has built', async () => {
    const root = await app('vite', { 'main.js': MAIN, 'index.html': html('/main.js') });
    await vite.build({ root, base: './', logLevel: 'error' });
    await assertServes(join(root, 'dist'));
  });

  await t.test('runs from Vite’s development server', async () => {
    const server = await vite.createServer({ root: join(APPS, 'vite'), logLevel: 'error', server: { host: '127.0.0.1', port: 0 } });
    await server.listen();
    try {
      await withBrowser({}, async ({ page, problems }) => {
        await assertChats(page, server.resolvedUrls.local[0]);
        assert.deepEqual(problems.filter((problem) => !problem.includes('favicon.ico')), []);
      });
    } finally {
      await server.close();
    }
  });

  await t.test('runs from an app that webpack has built', async () => {
    const context = await app('webpack', { 'main.js': MAIN });
    const stats = await new Promise((done, failed) => {
      const compiler = webpack({ context, mode: 'production', entry: './main.js', output: { path: join(context, 'dist') }, performance: { hints: false } });
      compiler.run((error, stats) => compiler.close(() => (error ? failed(error) : done(stats))));
    });
    assert.ok(!stats.hasErrors() && !stats.hasWarnings(), stats.toString());
    await writeFile(join(context, 'dist/index.html'), html(stats.toJson().assetsByChunkName.main[0]));
    await assertServes(join(context, 'dist'));
  });

  /** A bundler that knows nothing of the package's other files: no file but its own output is served. */
  const elsewhere = MAIN.replace("'pocket'", "'/pocket/'");
  const BLOB_POLICY = POLICY.replace("worker-src 'self'", "worker-src 'self' blob:");

  await t.test('runs from an app that esbuild has built, without its files', async () => {
    const folder = await app('esbuild', { 'main.js': elsewhere });
    const outdir = join(folder, 'dist');
    const { warnings } = await esbuild.build({ absWorkingDir: folder, entryPoints: ['main.js'], bundle: true, splitting: true, format: 'esm', outdir, logLevel: 'silent' });
    assert.deepEqual(warnings, []);
    await writeFile(join(outdir, 'index.html'), html('main.js'));
    const mounts = { '/app/': outdir, '/pocket/': join(ROOT, 'pkg/models/pocket') };
    await withBrowser({ mounts, headers: { 'Content-Security-Policy': BLOB_POLICY } }, async ({ page, problems }) => {
      await assertChats(page, '/app/');
      assert.deepEqual(problems.filter((problem) => !problem.includes('404')), []);
    });
  });

  await t.test('runs from the development server of Vite 7, which moves modules without their files', async () => {
    const root = await app('vite7', { 'main.js': elsewhere, 'index.html': html('/main.js') });
    await cp(join(ROOT, 'pkg/models/pocket'), join(root, 'public/pocket'), { recursive: true });
    const server = await vite7.createServer({ root, logLevel: 'silent', server: { host: '127.0.0.1', port: 0 } });
    await server.listen();
    try {
      await withBrowser({}, ({ page }) => assertChats(page, server.resolvedUrls.local[0]));
    } finally {
      await server.close();
    }
  });

  await t.test('runs from another origin, under Trusted Types', async () => {
    const other = await serve({ mounts: { '/cdn/': join(APPS, 'plain/node_modules/mobilemoe-web') }, headers: { 'Access-Control-Allow-Origin': '*' } });
    try {
      const folder = await app('elsewhere', { 'main.js': MAIN.replace("'mobilemoe-web'", `'${other.origin}/cdn/dist/index.js'`) });
      await writeFile(join(folder, 'index.html'), html('main.js'));
      const { origin } = other;
      const policy = `default-src 'none'; script-src 'self' ${origin} 'wasm-unsafe-eval'; worker-src blob:; connect-src 'self' ${origin}; require-trusted-types-for 'script'; trusted-types mobilemoe-web`;
      await withBrowser({ mounts: { '/app/': folder }, headers: { 'Content-Security-Policy': policy } }, ({ page }) => assertChats(page, '/app/'));
    } finally {
      await other.close();
    }
  });

  await t.test('can be imported where there is no browser, and says so', async () => {
    const script = `
      import { MobileMoE } from 'mobilemoe-web';
      import { mobilemoe } from 'mobilemoe-web/ai-sdk';
      const failure = await MobileMoE.load('synthetic-tiny').catch((error) => error);
      console.log(JSON.stringify([failure.name, failure.code, typeof mobilemoe]));
    `;
    const output = execFileSync('node', ['--input-type=module', '--eval', script], { cwd: join(APPS, 'vite'), encoding: 'utf8' });
    assert.deepEqual(JSON.parse(output), ['MobileMoEError', 'NoWebGpu', 'function']);
  });
});

test('without wasm-unsafe-eval a page is told so', { timeout: TIMEOUT_MS }, async () => {
  const headers = { 'Content-Security-Policy': "default-src 'self'" };
  await withBrowser({ headers }, async ({ page }) => {
    await page.goto('/pages/blank.html');
    const failure = await page.evaluate(async () => {
      const { MobileMoE } = await import('/pkg/dist/index.js');
      return MobileMoE.load('synthetic-tiny').catch(({ code, message }) => ({ code, message }));
    });
    assert.equal(failure.code, 'ModuleBlocked');
    assert.match(failure.message, /wasm-unsafe-eval/);
  });
});

/** Each of these loads nothing, so none needs a GPU: what is wrong is said in one sentence. */
test('what stands in the way of the worker and its modules is named', { timeout: TIMEOUT_MS }, async (t) => {
  const failure = (page, options = {}) =>
    page.evaluate(async (options) => {
      const { MobileMoE } = await import('/pkg/dist/index.js');
      const { name, code, message } = await MobileMoE.load('synthetic-tiny', options).catch((error) => error);
      return { name, code, message };
    }, options);

  await t.test('a policy without workers', async () => {
    const headers = { 'Content-Security-Policy': "default-src 'self' 'wasm-unsafe-eval'; worker-src 'none'" };
    await withBrowser({ headers }, async ({ page }) => {
      await page.goto('/pages/blank.html');
      const { name, code, message } = await failure(page);
      assert.deepEqual([name, code], ['MobileMoEError', 'WorkerMissing']);
      assert.match(message, /worker-src 'self'/);
    });
  });

  await withBrowser({}, async ({ page, server }) => {
    await page.goto('/pages/blank.html');

    await t.test('a module that is a page', async () => {
      const { code, message } = await failure(page, { wasmUrl: '/index.html' });
      assert.equal(code, 'ModuleMissing');
      assert.match(message, /index\.html: the server sent an HTML page/);
    });
    await t.test('a module that is not there', async () => {
      const { code, message } = await failure(page, { wasmUrl: '/nowhere.wasm' });
      assert.equal(code, 'ModuleMissing');
      assert.match(message, /nowhere\.wasm: HTTP 404/);
    });
    await t.test('a module that is not there, and no stand-in for it', async () => {
      server.faults.path = /_bg\.wasm$|-wasm\.js$/;
      server.faults.status = 404;
      const { name, code, message } = await failure(page);
      server.faults.status = undefined;
      assert.deepEqual([name, code], ['MobileMoEError', 'ModuleMissing']);
      assert.match(message, /mobilemoe_web_bg\.wasm: HTTP 404/);
    });
    await t.test('addresses that are none, a worker that is none', async () => {
      for (const option of ['wasmUrl', 'workerUrl']) {
        const { name, code } = await failure(page, { [option]: 'http://[' });
        assert.deepEqual([name, code], ['MobileMoEError', 'BadUrl'], option);
      }
      const { name, code } = await page.evaluate(async () => {
        const { MobileMoE } = await import('/pkg/dist/index.js');
        const { name, code } = await MobileMoE.load('synthetic-tiny', { worker: () => undefined }).catch((error) => error);
        return { name, code };
      });
      assert.deepEqual([name, code], ['MobileMoEError', 'BadOptions']);
    });
    await t.test('a worker at a wrong address gives way to the package\'s own', async () => {
      const capability = await page.evaluate(async () => {
        const { MobileMoE } = await import('/pkg/dist/index.js');
        return MobileMoE.canRun('synthetic-tiny', { workerUrl: '/nowhere.js' });
      });
      assert.ok(capability.memory.weightBytes > 0);
    });
  });
});
