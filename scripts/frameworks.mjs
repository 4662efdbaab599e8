// `npm run frameworks [-- NAME...]`: the packed package in fresh apps, as a newcomer would set them up: no configuration for the
// package, the README's lines, text that streams. Each app is built, and served by its development server where it has one; both
// must answer in Chromium. Prints a table and writes it to docs/frameworks.md. Needs the network (npm) and `npm run build`.

import { execFile, spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { withBrowser } from '../tests/browser/harness.mjs';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const TABLE = join(ROOT, 'docs/frameworks.md');
const ANSWER_TIMEOUT_MS = 180_000;
const START_TIMEOUT_MS = 120_000;
const run = promisify(execFile);

const LINES = `import { MobileMoE } from 'mobilemoe-web';
const engine = await MobileMoE.load('/models/pocket/');
let text = '';
for await (const piece of engine.generate([{ role: 'user', content: 'Hello' }], { maxTokens: 8 })) text += piece;
document.body.dataset.answer = text;
`;
const CALLED = LINES.replace('const engine', 'export async function main() {\nconst engine') + '}\n';
const html = (script, module = true) =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>App</title><body><div id="root"></div><script ${module ? 'type="module" ' : ''}src="${script}"></script></body></html>`;
const REACT = `import { StrictMode, useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import { main } from './chat.js';
function App() { useEffect(() => { main(); }, []); return null; }
createRoot(document.getElementById('root')).render(<StrictMode><App /></StrictMode>);
`;

const vite = (major, more = {}) => ({
  packages: [`vite@${major}`],
  files: { 'index.html': html('/main.js'), 'main.js': LINES },
  public: 'public',
  build: ['vite', 'build'],
  out: 'dist',
  dev: (port) => ['vite', '--host', '127.0.0.1', '--port', `${port}`, '--strictPort'],
  ...more,
});
const rollup = (packages, plugins) => ({
  packages: ['rollup@4', '@rollup/plugin-node-resolve@16', ...packages],
  files: {
    'main.js': LINES,
    'rollup.config.js': `import resolve from '@rollup/plugin-node-resolve';\n${plugins.head}export default { input: 'main.js', output: { dir: 'dist', format: 'es' }, plugins: [resolve()${plugins.list}] };\n`,
  },
  build: ['rollup', '-c'],
  out: 'dist',
  page: html('main.js'),
});

/** By name: npm packages, files, how it is built and into what folder, how its development server is started. */
const APPS = {
  'vite-5': vite(5),
  'vite-6': vite(6),
  'vite-7': vite(7),
  'vite-8': vite(8),
  'vite-7-react': vite(7, {
    packages: ['vite@7', '@vitejs/plugin-react@5', 'react@19', 'react-dom@19'],
    files: {
      'index.html': html('/main.jsx'),
      'main.jsx': REACT,
      'chat.js': CALLED,
      'vite.config.js': "import react from '@vitejs/plugin-react';\nexport default { plugins: [react()] };\n",
    },
  }),
  'webpack-5': {
    packages: ['webpack@5', 'webpack-cli@6'],
    files: { 'main.js': LINES },
    build: ['webpack', '--mode', 'production', '--entry', './main.js'],
    out: 'dist',
    page: html('main.js', false),
  },
  'rspack-1': {
    packages: ['@rspack/core@1', '@rspack/cli@1'],
    files: { 'main.js': LINES, 'rspack.config.mjs': "export default { mode: 'production', entry: './main.js' };\n" },
    build: ['rspack', 'build'],
    out: 'dist',
    page: html('main.js', false),
  },
  esbuild: {
    packages: ['esbuild'],
    files: { 'main.js': LINES },
    build: ['esbuild', 'main.js', '--bundle', '--format=esm', '--outdir=dist'],
    out: 'dist',
    page: html('main.js'),
  },
  'rollup-4': rollup([], { head: '', list: '' }),
  'rollup-4-import-meta-assets': rollup(['@web/rollup-plugin-import-meta-assets@2'], {
    head: "import { importMetaAssets } from '@web/rollup-plugin-import-meta-assets';\n",
    list: ', importMetaAssets()',
  }),
  'parcel-2': {
    packages: ['parcel@2'],
    files: { 'index.html': html('./main.js'), 'main.js': LINES },
    build: ['parcel', 'build', 'index.html', '--no-cache'],
    out: 'dist',
  },
  bun: {
    packages: ['bun'],
    files: { 'main.js': LINES },
    build: ['bun', 'build', 'main.js', '--outdir', 'dist', '--target', 'browser'],
    out: 'dist',
    page: html('main.js'),
  },
  'import-map': {
    packages: [],
    files: {},
    out: '.',
    page: `<!doctype html><html lang="en"><meta charset="utf-8"><title>App</title><body><script type="importmap">{"imports": {"mobilemoe-web": "/node_modules/mobilemoe-web/dist/index.js"}}</script><script type="module">${LINES}</script></body></html>`,
  },
};

/** The text that the page at `address` streams. */
async function answered(page, address) {
  await page.goto(address);
  const body = page.locator('body[data-answer]');
  await body.waitFor({ state: 'attached', timeout: ANSWER_TIMEOUT_MS });
  const text = await body.getAttribute('data-answer');
  if (!text) throw new Error('the answer is empty');
  return text;
}

/** What goes wrong in a page, with what it logged. */
async function inBrowser(options, address) {
  return withBrowser(options, async ({ page, problems }) => {
    try {
      return await answered(page, address);
    } catch (error) {
      throw new Error([error.message.split('\n')[0], ...problems.slice(0, 3)].join(' | '));
    }
  });
}

async function served(folder, [tool, ...args], port) {
  const server = spawn(join(folder, 'node_modules/.bin', tool), args, { cwd: folder, stdio: 'ignore', detached: true });
  try {
    const address = `http://127.0.0.1:${port}/`;
    const end = Date.now() + START_TIMEOUT_MS;
    while (!(await fetch(address).then((response) => response.ok, () => false))) {
      if (Date.now() > end || server.exitCode !== null) throw new Error('the development server did not start');
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    return await inBrowser({}, address);
  } finally {
    process.kill(-server.pid);
  }
}

async function tried(work) {
  try {
    await work();
    return 'answers';
  } catch (error) {
    return `fails: ${`${error.message}`.split('\n')[0].slice(0, 300)}`;
  }
}

async function judge(name, app, tarball, port) {
  const folder = await mkdtemp(join(tmpdir(), `mobilemoe-${name}-`));
  try {
    const manifest = { name: `app-${name}`, private: true, type: 'module' };
    for (const [file, text] of Object.entries({ 'package.json': JSON.stringify(manifest), ...app.files })) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await writeFile(join(folder, file), text);
    }
    await run('npm', ['install', '--no-audit', '--no-fund', '--silent', tarball, ...app.packages], { cwd: folder });
    const pocket = join(ROOT, 'pkg/models/pocket');
    if (app.public) await cp(pocket, join(folder, app.public, 'models/pocket'), { recursive: true });

    const built = await tried(async () => {
      const [tool, ...args] = app.build ?? [];
      if (tool) await run(join(folder, 'node_modules/.bin', tool), args, { cwd: folder });
      const out = join(folder, app.out);
      if (app.page) await writeFile(join(out, 'index.html'), app.page);
      await inBrowser({ mounts: { '/': out, '/models/pocket/': pocket } }, '/index.html');
    });
    const dev = app.dev ? await tried(() => served(folder, app.dev(port), port)) : 'has none';
    const versions = await Promise.all(
      app.packages.slice(0, 1).map(async (spec) => {
        const id = spec.replace(/(?<=.)@[^@/]*$/, '');
        return `${id} ${JSON.parse(await readFile(join(folder, 'node_modules', id, 'package.json'), 'utf8')).version}`;
      }),
    );
    return { name, version: versions[0] ?? '', built, dev };
  } catch (error) {
    return { name, version: '', built: `cannot be judged: ${error.message.split('\n')[0].slice(0, 200)}`, dev: '' };
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

// Playwright answers the signal by closing the browser; then the next app would go on.
process.once('SIGTERM', () => process.exit(143));

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in APPS));
if (unknown.length) {
  console.error(`error: no app is called ${unknown.join(', ')}; there are ${Object.keys(APPS).join(', ')}`);
  process.exit(2);
}
const packed = await mkdtemp(join(tmpdir(), 'mobilemoe-pack-'));
try {
  const { stdout } = await run('npm', ['pack', '--json', '--silent', '--pack-destination', packed], { cwd: join(ROOT, 'pkg') });
  const tarball = join(packed, JSON.parse(stdout)[0].filename);
  const row = ({ name, version, built, dev }) => `| ${name} | ${version} | ${built} | ${dev} |`;
  const head = '| app | version | production build | development server |\n|---|---|---|---|';
  console.log(head);
  const results = [];
  for (const [name, app] of Object.entries(APPS)) {
    if (asked.length && !asked.includes(name)) continue;
    const result = await judge(name, app, tarball, 5300 + results.length);
    results.push(result);
    console.log(row(result));
  }
  const bad = results.some(({ built, dev }) => /^(fails|cannot)/.test(built) || dev.startsWith('fails'));
  if (!asked.length) {
    const date = new Date().toISOString().slice(0, 10);
    const text = `# Bundlers and development servers\n\nWritten by \`npm run frameworks\` on ${date}: each app made fresh, the packed package installed, no configuration for it, the
README's lines; "answers" means that text streamed in headless Chromium (WebGPU in software), Node ${process.versions.node}.\n\n${[head, ...results.map(row)].join('\n')}\n`;
    await writeFile(TABLE, text);
  }
  process.exitCode = bad ? 1 : 0;
} finally {
  await rm(packed, { recursive: true, force: true });
}
