// Which kernels run: measured when an adapter first loads a model, remembered, or as told.

import { strict as assert } from 'node:assert';

import { loadAs, openBlank } from './engine.mjs';
import { browserTest } from './harness.mjs';

const CACHE = 'mobilemoe-variants-3';
const TIMEOUT_MS = 300_000;

browserTest('the faster kernels are found, and remembered by adapter', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  const remembered = () => page.evaluate(async (name) => {
    const cache = await caches.open(name);
    const found = await Promise.all((await cache.keys()).map(async (request) => [request.url, await (await cache.match(request)).json()]));
    return Object.fromEntries(found);
  }, CACHE);
  const measured = await loadAs(page, 'synthetic-tiny', {});
  assert.deepEqual(Object.keys(measured.variant).sort(), ['decode', 'prefill']);
  const names = await formNames(page);
  for (const form of Object.values(measured.variant)) assert.ok(names.includes(form), form);
  assert.equal(measured.variant.decode, 'thread'); // by far, on a software adapter
  const agent = await page.evaluate(() => navigator.userAgent);
  const address = `https://variants.invalid/${encodeURIComponent(`${measured.adapter} ${agent}`)}`;
  assert.deepEqual(await remembered(), { [address]: measured.variant });

  // What is remembered is used: here the opposite of what was measured.
  const other = (form) => (form.startsWith('thread') ? 'workgroup' : 'thread');
  const opposite = { decode: other(measured.variant.decode), prefill: other(measured.variant.prefill) };
  const put = (text) => page.evaluate(
    async ([name, address, text]) => (await caches.open(name)).put(address, new Response(text)),
    [CACHE, address, text],
  );
  await put(JSON.stringify(opposite));
  assert.deepEqual((await loadAs(page, 'synthetic-tiny', {})).variant, opposite);
  // A given one comes first. What cannot be read, or no longer runs here, is measured again.
  assert.deepEqual((await loadAs(page, 'synthetic-tiny', { variant: measured.variant })).variant, measured.variant);
  for (const text of ['{"decode": "quantum"}', '{"decode": "workgroup-f16", "prefill": "workgroup"}']) {
    await put(text);
    const { variant } = await loadAs(page, 'synthetic-tiny', {});
    assert.deepEqual((await remembered())[address], variant);
    assert.notDeepEqual(variant, JSON.parse(text));
  }
});

browserTest('a form is refused where it is unknown or the device lacks something', {}, async ({ page }) => {
  await openBlank(page);
  const refused = (form) => page.evaluate(
    (form) => window.failure(window.MobileMoE.load('synthetic-tiny', { variant: { decode: form, prefill: 'workgroup' } })),
    form,
  );
  assert.match((await refused('quantum')).message, /"quantum", only thread, thread-subgroups-tile8, workgroup/);
  // SwiftShader has no halves.
  const { code, message } = await refused('workgroup-f16');
  assert.equal(code, 'MissingFeature');
  assert.match(message, /shader-f16/);
  const mixed = await refused('thread');
  assert.equal(mixed.code, 'MixedStyles');
  assert.match(mixed.message, /decode: thread, prefill: workgroup/);
});

// Each is compiled anew, which takes a software adapter long: MOBILEMOE_PARITY=full runs all it can.
browserTest('other forms compute the same', { timeoutMs: 10 * TIMEOUT_MS }, async ({ page }) => {
  const logits = async (form) => {
    const { variant } = await loadAs(page, 'synthetic-tiny', { kv: 'f32', variant: { decode: form, prefill: form } });
    assert.equal(variant.prefill, form);
    return page.evaluate(async () => [...(await window.engine.logits(Array.from({ length: 23 }, (_, i) => 5 * i), { allPositions: true })).logits]);
  };
  const expected = await logits('thread');
  const check = async (form, most) => {
    const found = await logits(form);
    const error = Math.sqrt(found.reduce((sum, value, i) => sum + (value - expected[i]) ** 2, 0) / found.length);
    console.log(`    ${form}: logits off by ${error.toExponential(2)} (root mean square)`);
    assert.ok(error < most, `${form}: off by ${error}`);
    return found;
  };
  // These weights are random: where experts are all but tied, INT8 tips the choice.
  const INT8 = 1;
  await check('thread-subgroups-tile8', 1e-4);
  if (process.env.MOBILEMOE_PARITY !== 'full') return void (await check('workgroup-packed-subgroups-tile8', INT8));
  for (const rest of ['', '-subgroups', '-tile8', '-subgroups-tile8']) {
    await check(`workgroup${rest}`, 1e-4);
    // The packed dot product gives the integers that INT8 without it gives, to the last bit.
    const [int8, packed] = [await check(`workgroup-int8${rest}`, INT8), await check(`workgroup-packed${rest}`, INT8)];
    assert.ok(int8.every((value, i) => value === packed[i]), rest);
  }
});

/** The forms that the engine knows, from its own words. */
async function formNames(page) {
  const { message } = await page.evaluate(
    () => window.failure(window.MobileMoE.load('synthetic-tiny', { variant: { decode: 'none', prefill: 'none' } })),
  );
  return message.match(/only (.*)/)[1].split(/[, ]+/);
}
