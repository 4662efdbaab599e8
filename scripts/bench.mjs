// `npm run bench -- MODEL... [options]`: the engine in headless Chromium, measured; by default its WebGPU runs in software
// (SwiftShader). MODEL is the folder of a checkpoint or a shape of random weights: tiny, mini, S, M, L, pro. Of several
// models the first is compared with the others. The options are those of `mobilemoe bench`; `--gpu` takes the real GPU.

import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { loadAs } from '../tests/browser/engine.mjs';
import { withBrowser } from '../tests/browser/harness.mjs';
import { comparison, facts, json, tables } from '../www/dist/report.js';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prompts: { type: 'string' },
    contexts: { type: 'string' },
    streams: { type: 'string' },
    fill: { type: 'string' },
    repeats: { type: 'string' },
    tokens: { type: 'string' },
    budget: { type: 'string' },
    'no-profile': { type: 'boolean' },
    kv: { type: 'string' },
    variant: { type: 'string' },
    context: { type: 'string' },
    chunk: { type: 'string' },
    json: { type: 'boolean' },
    gpu: { type: 'boolean' },
  },
});
if (!positionals.length) throw new Error('usage: npm run bench -- MODEL... (a folder, or tiny, mini, S, M, L, pro)');

const number = (text) => {
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error(`"${text}" is not a number`);
  return value;
};
const numbers = (text) => text.split(',').map(number);
/** Only what was given: the engine has defaults for the rest. */
const given = (entries) => Object.fromEntries(entries.filter(([, value]) => value !== undefined));
const benchmark = given([
  ['prompts', values.prompts && numbers(values.prompts)],
  ['contexts', values.contexts && numbers(values.contexts)],
  ['streams', values.streams?.split(',')],
  ['fill', values.fill],
  ['repeats', values.repeats && number(values.repeats)],
  ['tokens', values.tokens && number(values.tokens)],
  ['budgetMs', values.budget && 1000 * number(values.budget)],
  ['profile', !values['no-profile']],
  ['prose', readFileSync(join(ROOT, 'www/bench.txt'), 'utf8')],
]);
const loading = given([
  ['kv', values.kv],
  ['variant', values.variant && { decode: values.variant, prefill: values.variant }],
  ['contextLength', values.context && number(values.context)],
  ['chunkTokens', values.chunk && number(values.chunk)],
]);

/** A model's figures, from a browser of its own: nothing is left from the one before. */
async function measure(model) {
  const folder = await stat(model).then((found) => found.isDirectory(), () => false);
  const models = folder ? [model] : [];
  return withBrowser({ models, gpu: values.gpu }, async ({ page }) => {
    page.setDefaultTimeout(0);
    const name = basename(resolve(model));
    const began = performance.now();
    const { experts } = await loadAs(page, folder ? `/models/${encodeURIComponent(name)}/` : `synthetic-${model}`, loading);
    const load_ms = performance.now() - began;
    await page.exposeFunction('tell', ({ now, done, total }) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${name}: ${now} (${done} of ${total} done)`);
    });
    const report = await page.evaluate(
      (options) => window.engine.benchmark({ ...options, onProgress: window.tell }),
      benchmark,
    );
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    return { shape: name, load_ms, experts, ...report };
  });
}

/** Columns as wide as need be: figures to the right, names and what is noted behind a figure to the left. */
function text({ title, columns, rows }) {
  const noted = columns.map((_, i) => rows.some((row) => row[i].note));
  const withNotes = (cells) => cells.flatMap(({ text, note = '' }, i) => (noted[i] ? [text, note] : [text]));
  const left = columns.flatMap((_, i) => (noted[i] ? [i === 0, true] : [i === 0]));
  const lines = [columns.map((text) => ({ text })), ...rows].map(withNotes);
  const widths = left.map((_, i) => Math.max(...lines.map((line) => line[i].length)));
  const pad = (cell, i) => (left[i] ? cell.padEnd(widths[i]) : cell.padStart(widths[i]));
  return [`\n  ${title}`, ...lines.map((line) => `  ${line.map(pad).join('  ').trimEnd()}`)].join('\n');
}

const all = [];
for (const model of positionals) {
  const measured = await measure(model);
  all.push(measured);
  if (values.json) continue;
  console.log(measured.shape);
  for (const [label, fact] of facts(measured)) console.log(`  ${label.padEnd(12)} ${fact}`);
  console.log(`${tables(measured).map(text).join('\n')}\n`);
}
if (values.json) console.log(JSON.stringify(json(all), undefined, 2));
else all.slice(1).forEach((other) => console.log(`${text(comparison(all[0], other))}\n`));
