// Which kernels run: measured when an adapter first loads a model, remembered, or as told.

import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { loadAs, openBlank } from './engine.mjs';
import { identityOf } from '../../pkg/dist/variant.js';
import { browserTest } from './harness.mjs';

const CACHE = 'mobilemoe-variants-4';
const TIMEOUT_MS = 300_000;

test('adapters that differ in anything are told apart', () => {
  const adapter = (info = {}, features = ['f16'], limits = {}) => ({
    info: new Told({ vendor: '', architecture: '', device: '', description: '', subgroupMinSize: 4, ...info }),
    features: new Set(features),
    limits: new Told({ maxBufferSize: 2 ** 28, maxComputeWorkgroupSizeX: 256, ...limits }),
  });
  // As browsers have it: getters of a class.
  class Told {
    #values;
    constructor(values) {
      this.#values = values;
      for (const name of Object.keys(values)) {
        if (!(name in Told.prototype)) Object.defineProperty(Told.prototype, name, { get() { return this.#values[name]; } });
      }
    }
  }
  assert.equal(identityOf(adapter({}, ['f16', 'subgroups'])), identityOf(adapter({}, ['subgroups', 'f16'])));
  const others = [
    ...['vendor', 'architecture', 'device', 'description'].map((name) => adapter({ [name]: 'other' })),
    adapter({ subgroupMinSize: 32 }), adapter({ driver: 'a version that Chromium tells developers' }),
    adapter({}, []), adapter({}, ['f16', 'subgroups']), adapter({}, ['f16'], { maxBufferSize: 2 ** 31 }),
  ];
  assert.equal(new Set([adapter(), ...others].map(identityOf)).size, 1 + others.length);
});

browserTest('the faster kernels are found, and remembered', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  const kept = () => page.evaluate(async (name) => {
    const cache = await caches.open(name);
    return Promise.all((await cache.keys()).map(async (request) => ({ address: request.url, ...(await (await cache.match(request)).json()) })));
  }, CACHE);
  const put = (address, entry) => page.evaluate(
    async ([name, address, text]) => (await caches.open(name)).put(address, new Response(text)),
    [CACHE, address, JSON.stringify(entry)],
  );
  await openBlank(page);
  const elsewhere = 'https://variants.invalid/another-adapter';
  await put(elsewhere, { browser: 'an older one', found: '{}' });
  await page.evaluate(() => caches.open('mobilemoe-variants-3'));
  const measured = await loadAs(page, 'synthetic-tiny', {});
  assert.deepEqual(Object.keys(measured.variant).sort(), ['decode', 'prefill']);
  const names = await formNames(page);
  for (const form of Object.values(measured.variant)) assert.ok(names.includes(form), form);
  assert.equal(measured.variant.decode, 'thread'); // by far, on a software adapter
  const [entry, ...others] = await kept();
  assert.deepEqual(others, [], 'what an older browser found is thrown away');
  assert.equal(await page.evaluate(() => caches.has('mobilemoe-variants-3')), false);
  const [sizes, ...otherSizes] = Object.keys(JSON.parse(entry.found));
  assert.deepEqual(otherSizes, []);
  assert.deepEqual(JSON.parse(entry.found)[sizes], measured.variant);

  // What is remembered is used: here the opposite of what was measured.
  const other = (form) => (form.startsWith('thread') ? 'workgroup' : 'thread');
  const opposite = { decode: other(measured.variant.decode), prefill: other(measured.variant.prefill) };
  const keep = (found, browser = entry.browser) => put(entry.address, { browser, found });
  const loaded = async () => (await loadAs(page, 'synthetic-tiny', {})).variant;
  await keep(JSON.stringify({ [sizes]: opposite }));
  assert.deepEqual(await loaded(), opposite);
  // A given one comes first.
  assert.deepEqual((await loadAs(page, 'synthetic-tiny', { variant: measured.variant })).variant, measured.variant);
  // Another model's, another browser's, what cannot be read and what does not run here: measured again.
  const useless = [
    [JSON.stringify({ [`${sizes}0`]: opposite })],
    [JSON.stringify({ [sizes]: opposite }), 'another version'],
    [JSON.stringify({ [sizes]: { decode: 'quantum', prefill: 'workgroup' } })],
    [JSON.stringify({ [sizes]: { decode: 'workgroup-f16', prefill: 'workgroup' } })],
  ];
  for (const [found, browser] of useless) {
    await keep(found, browser);
    const variant = await loaded();
    assert.notDeepEqual(variant, opposite);
    assert.deepEqual(JSON.parse((await kept())[0].found)[sizes], variant);
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
