// `npm run measure-load -- DIR [TOKENS]`: loads a checkpoint through the package in headless Chromium, lets it generate,
// and reports what that took of CPU memory: the WASM heap, and the largest resident set of each kind of process.
// On SwiftShader "GPU memory" is the gpu-process's.

import { readFileSync, readdirSync } from 'node:fs';
import { basename, resolve } from 'node:path';

import { loadAs } from '../tests/browser/engine.mjs';
import { withBrowser } from '../tests/browser/harness.mjs';

const [dir, tokens = '8'] = process.argv.slice(2);
if (!dir) throw new Error('usage: npm run measure-load -- DIR [TOKENS]');
const MB = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** Resident bytes of this process's descendants, by Chromium's process type. */
function residentBytes() {
  const processes = new Map();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const number = (key) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      processes.set(Number(pid), { parent: number('PPid'), bytes: 1024 * number('VmRSS'), command });
    } catch {
      // It ended meanwhile.
    }
  }
  const descends = (pid) => pid === process.pid || (processes.has(pid) && descends(processes.get(pid).parent));
  const largest = {};
  for (const [pid, { bytes, command }] of processes) {
    if (pid === process.pid || !descends(pid)) continue;
    const type = /--type=([\w-]+)/.exec(command)?.[1] ?? 'browser';
    largest[type] = Math.max(largest[type] ?? 0, bytes);
  }
  return largest;
}

await withBrowser({ models: [dir] }, async ({ page }) => {
  const before = residentBytes();
  const peak = {};
  const sampler = setInterval(() => {
    for (const [type, bytes] of Object.entries(residentBytes())) peak[type] = Math.max(peak[type] ?? 0, bytes);
  }, 100);
  page.setDefaultTimeout(0);
  const begin = performance.now();
  const facts = await loadAs(page, `/models/${encodeURIComponent(basename(resolve(dir)))}/`, { contextLength: 1024 });
  const loadMs = performance.now() - begin;
  const loadPeak = { ...peak };
  console.log(`loaded ${MB(facts.weightBytes)} of weights in ${(loadMs / 1e3).toFixed(1)} s on ${facts.adapter}`);
  console.log(`WASM heap after loading (its peak, tokenizer included): ${MB(facts.heapBytes)}`);
  for (const [type, bytes] of Object.entries(loadPeak)) {
    console.log(`largest ${type} process while loading: ${MB(bytes)} (${MB(before[type] ?? 0)} before)`);
  }
  const result = await page.evaluate(
    (maxTokens) => window.engine.generate([1, 2, 3, 4, 5, 6, 7, 8], { maxTokens }).result,
    Number(tokens),
  );
  console.log('generated', JSON.stringify(result));
  clearInterval(sampler);
});
