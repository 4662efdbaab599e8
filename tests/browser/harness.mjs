// What every browser test stands on: a server on a free port and headless Chromium with a profile of its own, whose
// WebGPU runs in software (SwiftShader). A test fails when its page, or a worker of it, throws or logs an error.

import { strict as assert } from 'node:assert';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { serve } from '../../scripts/serve.mjs';

const TESTS = dirname(dirname(fileURLToPath(import.meta.url)));
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const SOFTWARE_FLAG = '--use-webgpu-adapter=swiftshader';
const DEFAULT_TIMEOUT_MS = 120_000;

/**
 * @typedef {object} Stage
 * @property {import('playwright-core').Page} page an empty one: `await page.goto('/')` opens the demo
 * @property {import('playwright-core').BrowserContext} context the browser's profile; outlives a closed page
 * @property {Awaited<ReturnType<typeof serve>>} server its `faults` may be changed, its `requests` read
 * @property {string[]} problems what pages have thrown and logged as errors so far
 */

/**
 * Declares a test with a browser. Relative addresses are the server's: www/ at /, pkg/ at /pkg/, tests/fixtures/ at
 * /fixtures/, tests/browser/pages/ at /pages/.
 *
 * @param {string} name
 * @param {{ expectedProblems?: RegExp[], timeoutMs?: number, viewport?: { width: number, height: number } }} options
 *   `expectedProblems`: errors that the test provokes. One that does not come fails the test as well.
 * @param {(stage: Stage, t: import('node:test').TestContext) => Promise<void>} body `t.test` declares parts of it
 */
export function browserTest(name, options, body) {
  const { expectedProblems = [], timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  test(name, { timeout: timeoutMs }, (t) => withBrowser(options, async (stage) => {
    await body(stage, t);
    const unexpected = stage.problems.filter((problem) => !expectedProblems.some((pattern) => pattern.test(problem)));
    assert.deepEqual(unexpected, [], 'the page threw or logged an error');
    for (const pattern of expectedProblems) {
      assert.ok(stage.problems.some((problem) => pattern.test(problem)), `expected, but nothing went wrong like ${pattern}`);
    }
  }));
}

/**
 * @typedef {object} BrowserOptions
 * @property {{ width: number, height: number }} [viewport]
 * @property {string[]} [models] folders served at /models/
 * @property {boolean} [gpu] the machine's own instead of software
 * @property {Record<string, string>} [mounts] further folders, as `serve` takes them
 * @property {Record<string, string>} [headers] further headers, likewise
 */

/**
 * @param {BrowserOptions} options
 * @template T
 * @param {(stage: Stage) => Promise<T>} body
 * @returns {Promise<T>}
 */
export async function withBrowser({ viewport, models, gpu, mounts, headers }, body) {
  const server = await serve({
    models,
    headers,
    mounts: { ...mounts, '/fixtures/': join(TESTS, 'fixtures'), '/pages/': join(TESTS, 'browser/pages') },
  });
  const profile = await mkdtemp(join(tmpdir(), 'mobilemoe-browser-'));
  let context;
  try {
    // A profile on disk, unlike a private window, gives pages a real private file system (OPFS).
    context = await chromium.launchPersistentContext(profile, {
      executablePath: CHROMIUM,
      args: gpu ? CHROMIUM_FLAGS : [...CHROMIUM_FLAGS, SOFTWARE_FLAG],
      headless: true,
      baseURL: server.origin,
      ...(viewport && { viewport }),
    });
    /** @type {string[]} */
    const problems = [];
    context.on('weberror', (event) => problems.push(`uncaught: ${event.error().stack ?? event.error()}`));
    context.on('console', (message) => {
      if (message.type() === 'error') problems.push(`console: ${message.text()} (${message.location().url})`);
    });
    const page = context.pages()[0] ?? (await context.newPage());
    return await body({ page, context, server, problems });
  } catch (error) {
    throw Object.assign(error, { requests: server.requests.slice(-20) });
  } finally {
    await context?.close();
    await server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 3 });
  }
}
