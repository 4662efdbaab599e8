// Headless Firefox over WebDriver BiDi, with WebGPU on Mesa's lavapipe (CPU). Debian's Firefox needs no driver of its own.
// (playwright-core asks for commands that Firefox's ESR does not have; puppeteer would bring 80 packages for this.)

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import WebSocket from 'ws';

const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';
const VULKAN_DRIVERS = '/usr/share/vulkan/icd.d';
const EXIT_MS = 10_000;
const PREFERENCES = {
  'dom.webgpu.enabled': true,
  'dom.webgpu.workers.enabled': true,
  'gfx.webgpu.ignore-blocklist': true, // software drivers are on it
};

/** The file that leads Vulkan to lavapipe; `undefined` where it is not installed. */
export const LAVAPIPE = existsSync(VULKAN_DRIVERS)
  ? readdirSync(VULKAN_DRIVERS).filter((name) => name.startsWith('lvp_icd.')).map((name) => join(VULKAN_DRIVERS, name))[0]
  : undefined;

/** Why there can be no Firefox here, or `false`: the `skip` of a test. */
export const NO_FIREFOX = !existsSync(FIREFOX) ? `Firefox is not installed (${FIREFOX})` : !LAVAPIPE && 'Mesa’s lavapipe is not installed';

/**
 * @typedef {object} FirefoxPage
 * @property {string} version the browser's
 * @property {string[]} problems what pages have thrown and logged as errors so far
 * @property {(address: string) => Promise<void>} goto
 * @property {<T>(run: (...args: any[]) => T | Promise<T>, ...args: unknown[]) => Promise<T>} evaluate runs a function in the
 *   page; arguments and result travel as JSON
 */

/**
 * @template T
 * @param {(page: FirefoxPage) => Promise<T>} body
 * @returns {Promise<T>}
 */
export async function withFirefox(body) {
  const profile = await mkdtemp(join(tmpdir(), 'mobilemoe-firefox-'));
  const preferences = Object.entries(PREFERENCES).map(([name, value]) => `user_pref("${name}", ${value});\n`);
  await writeFile(join(profile, 'user.js'), preferences.join(''));
  const args = ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port', '0'];
  // Without Mesa's cache every run compiles all kernels, as a first visit does.
  const env = { ...process.env, VK_ICD_FILENAMES: LAVAPIPE, MESA_SHADER_CACHE_DISABLE: 'true' };
  const browser = spawn(FIREFOX, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
  const exit = once(browser, 'exit');
  try {
    const session = await BidiSession.open(await addressOf(browser));
    try {
      return await body(await openPage(session));
    } finally {
      await session.end();
    }
  } finally {
    const kill = setTimeout(() => browser.kill('SIGKILL'), EXIT_MS);
    await exit;
    clearTimeout(kill);
    await rm(profile, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Firefox says on stderr where it listens. */
async function addressOf(browser) {
  for await (const line of createInterface({ input: browser.stderr })) {
    const [, address] = /^WebDriver BiDi listening on (ws:.*)$/.exec(line) ?? [];
    if (!address) continue;
    browser.stderr.resume();
    return address;
  }
  throw new Error(`Firefox ended without a word of where it listens (exit status ${browser.exitCode})`);
}

/** @returns {Promise<FirefoxPage>} */
async function openPage(session) {
  const { capabilities } = await session.send('session.new', { capabilities: {} });
  await session.send('session.subscribe', { events: ['log.entryAdded'] });
  const { context } = await session.send('browsingContext.create', { type: 'tab' });
  const problems = [];
  session.on('log.entryAdded', ({ level, type, text }) => {
    if (level === 'error') problems.push(`${type}: ${text}`);
  });
  return {
    version: capabilities.browserVersion,
    problems,
    goto: async (url) => void (await session.send('browsingContext.navigate', { context, url, wait: 'complete' })),
    async evaluate(run, ...args) {
      const { result, exceptionDetails } = await session.send('script.callFunction', {
        functionDeclaration: `async (args) => JSON.stringify(await (${run})(...JSON.parse(args)))`,
        arguments: [{ type: 'string', value: JSON.stringify(args) }],
        awaitPromise: true,
        target: { context },
      });
      if (exceptionDetails) throw new Error(exceptionDetails.text);
      return result.type === 'string' ? JSON.parse(result.value) : undefined;
    },
  };
}

/** Commands and their answers, by number; events by name. */
class BidiSession {
  #socket;
  #pending = new Map();
  #listeners = new Map();
  #lastId = 0;

  static async open(address) {
    const socket = new WebSocket(`${address}/session`, { maxPayload: 2 ** 28 });
    await once(socket, 'open');
    return new BidiSession(socket);
  }

  constructor(socket) {
    this.#socket = socket;
    socket.on('message', (data) => this.#receive(JSON.parse(data)));
    socket.on('close', () => {
      for (const { reject } of this.#pending.values()) reject(new Error('Firefox is gone'));
    });
  }

  send(method, params) {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }

  on(event, listener) {
    this.#listeners.set(event, listener);
  }

  /** Ends the browser, too. */
  async end() {
    if (this.#socket.readyState === WebSocket.OPEN) await this.send('browser.close', {}).catch(() => {});
    this.#socket.terminate();
  }

  #receive({ id, type, method, params, result, error, message }) {
    if (type === 'event') return this.#listeners.get(method)?.(params);
    const { resolve, reject } = this.#pending.get(id);
    this.#pending.delete(id);
    if (type === 'error') reject(new Error(`${error}: ${message}`));
    else resolve(result);
  }
}
