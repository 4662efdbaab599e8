// Which kernels run: measured when an adapter first loads a model, remembered, or as told.

import { strict as assert } from 'node:assert';

import { loadAs } from './engine.mjs';
import { browserTest } from './harness.mjs';

browserTest('the faster kernels are found, and remembered by adapter', {}, async ({ page }) => {
  const remembered = () => page.evaluate(async () => {
    const cache = await caches.open('mobilemoe-variants-2');
    const found = await Promise.all((await cache.keys()).map(async (request) => [request.url, await (await cache.match(request)).json()]));
    return Object.fromEntries(found);
  });
  const measured = await loadAs(page, 'synthetic-tiny', {});
  const styles = Object.values(measured.variant);
  assert.deepEqual(Object.keys(measured.variant).sort(), ['decode', 'prefill']);
  assert.ok(styles.every((style) => style === 'thread' || style === 'workgroup'), styles);
  const address = `https://variants.invalid/${encodeURIComponent(measured.adapter)}`;
  assert.deepEqual(await remembered(), { [address]: measured.variant });

  // What is remembered is used: here the opposite of what was measured.
  const other = (style) => (style === 'thread' ? 'workgroup' : 'thread');
  const opposite = { decode: other(measured.variant.decode), prefill: other(measured.variant.prefill) };
  const put = (text) => page.evaluate(
    async ([address, text]) => (await caches.open('mobilemoe-variants-2')).put(address, new Response(text)),
    [address, text],
  );
  await put(JSON.stringify(opposite));
  assert.deepEqual((await loadAs(page, 'synthetic-tiny', {})).variant, opposite);
  // A given one comes first, and what cannot be read is measured again.
  assert.deepEqual((await loadAs(page, 'synthetic-tiny', { variant: measured.variant })).variant, measured.variant);
  await put('{"decode": "quantum"}');
  await loadAs(page, 'synthetic-tiny', {});
  assert.ok(styles.includes((await remembered())[address].decode));

  const refused = await page.evaluate(
    () => window.failure(window.MobileMoE.load('synthetic-tiny', { variant: { decode: 'quantum', prefill: 'thread' } })),
  );
  assert.match(refused.message, /quantum/);
});
