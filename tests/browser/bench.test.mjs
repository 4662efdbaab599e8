// The benchmark through the package, and the benchmark page. With SCREENSHOTS=folder the page leaves pictures there.

import { strict as assert } from 'node:assert';
import { readFile } from 'node:fs/promises';

import { load } from './engine.mjs';
import { browserTest } from './harness.mjs';

const TIMEOUT_MS = 600_000;

browserTest('a benchmark counts what a token costs, and ends when told to', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  const { dispatchesPerToken } = await load(page, 'synthetic-tiny');
  const options = { prompts: [6], contexts: [4], tokens: 2, repeats: 2, prose: 'Once upon a time.' };
  const { report, heard } = await page.evaluate(async (options) => {
    const heard = [];
    const onProgress = ({ now, done, total }) => heard.push([now, done, total]);
    return { report: await window.engine.benchmark({ ...options, onProgress }), heard };
  }, options);
  assert.deepEqual(
    [report.passes_per_token, report.submits_per_token, report.readback_bytes_per_token, report.buffer_writes_per_token],
    [1, 1, 8, 0],
  );
  assert.deepEqual([report.bind_groups_created_per_token, report.buffers_created_per_token], [0, 0]);
  assert.equal(report.dispatches_per_token, dispatchesPerToken);
  assert.equal(report.decode_ms_per_token, report.decode[0].ms_per_token.median);
  assert.ok(report.prefill_tokens_per_s > 0 && report.decode[0].ms_per_token.runs === 2 && !report.aborted);
  assert.deepEqual(report.prefill.map(({ prompt_tokens, stream }) => [prompt_tokens, stream]), [[6, 'realistic'], [6, 'templated']]);
  assert.deepEqual(heard[0], ['warming up', 0, 3]);
  assert.ok(heard.some(([now, done]) => /^prefill of 6 tokens, templated, run 2 of 2$/.test(now) && done === 2));
  // SwiftShader has timestamps: the kernels' reads are all that a token reads.
  const read = report.profile.decode.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
  assert.equal(read, report.weight_bytes_per_token + 4 * 3 * 2 * 64 * 2);

  const ended = await page.evaluate((options) => {
    const abort = new AbortController();
    const onProgress = ({ now }) => now.startsWith('prefill') && abort.abort();
    // Each measurement takes its two seconds: time to be heard in.
    return window.engine.benchmark({ ...options, repeats: 10_000, budgetMs: 2_000, onProgress, signal: abort.signal });
  }, options);
  assert.ok(ended.aborted && ended.decode.length === 1 && ended.prefill.length < 2 && ended.profile === null);

  const failure = await page.evaluate(() => window.failure(window.engine.benchmark({ streams: [] })));
  assert.equal(failure.code, 'Option');
});

const PHONE = { width: 390, height: 844 };
browserTest('the benchmark page on a phone: measure, stop, take the figures along', { viewport: PHONE, timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  const picture = async (name) => {
    if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/bench-${name}.png`, fullPage: true });
  };
  await page.goto('/bench.html');
  await page.getByText(/^GPU: /).waitFor();
  await picture('choose');
  await page.getByRole('radio', { name: /a checkpoint/ }).check();
  await page.getByLabel('Address of a checkpoint’s folder').fill('synthetic-tiny');
  await page.getByRole('button', { name: 'Measure', exact: true }).click();
  await page.getByText(/^prefill of [\d,]+ tokens/).waitFor({ timeout: TIMEOUT_MS });
  await picture('running');
  await page.getByRole('button', { name: 'Stop' }).click();

  await page.getByRole('heading', { name: 'tiny, ended early' }).waitFor({ timeout: TIMEOUT_MS });
  assert.match(await page.locator('#results').textContent(), /1 pass, 1 submit, 8 bytes read back/);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await picture('results');
  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download JSON' }).click();
  const saved = JSON.parse(await readFile(await (await download).path(), 'utf8'));
  assert.deepEqual([saved.shape, saved.decode[0].context, saved.aborted], ['tiny', 256, true]);
  await page.getByRole('button', { name: 'Measure again' }).click();
  await page.getByRole('heading', { name: /How fast/ }).waitFor();
});
