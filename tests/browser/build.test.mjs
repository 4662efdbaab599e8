// What `scripts/build.sh` made is whole: the WASM module starts in a page and in the package's worker.

import { strict as assert } from 'node:assert';

import { browserTest } from './harness.mjs';

browserTest('the WASM module starts', {}, async ({ page }) => {
  await page.goto('/pages/blank.html');
  const exports = await page.evaluate(async () => {
    const module = await import('/pkg/wasm/mobilemoe_web.js');
    const instance = await module.default();
    return { memoryBytes: instance.memory.buffer.byteLength, names: Object.keys(module) };
  });
  assert.ok(exports.memoryBytes > 0);
  assert.ok(exports.names.includes('WebEngine'), `exported: ${exports.names}`);
});

browserTest('the demo page finds the GPU', {}, async ({ page }) => {
  await page.goto('/');
  await page.locator('#capability[data-ok="true"]').waitFor();
});
