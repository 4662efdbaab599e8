// What a loading page shows: one number that never goes back, a text, the rate and the time left.

import { strict as assert } from 'node:assert';
import { mock, test } from 'node:test';

import { ProgressMeter } from '../../pkg/dist/progress.js';
import { openBlank, SOFTWARE } from './engine.mjs';
import { browserTest } from './harness.mjs';

const STAGES = ['starting', 'opening', 'measuring', 'compiling', 'weights', 'warming-up', 'ready'];

/** A step as the worker tells it. */
const step = (stage, done, total, bytesTotal = 0, rest = {}) => ({ stage, done, total, bytesTotal, quantizes: false, fetches: true, ...rest });

test('progress: a steady transfer, then one twice as fast', () => {
  let nowMs = 5_000;
  mock.method(performance, 'now', () => nowMs);
  const reports = [];
  const meter = new ProgressMeter((progress) => reports.push(progress));
  meter.update(step('opening', 0, 0));
  nowMs += 20_000; // compiling is no transfer
  const bytesTotal = 40_000_000;
  let bytesDone = 0;
  const transfer = (seconds, bytesPerSecond) => {
    for (let tenth = 0; tenth < seconds * 10; tenth++) {
      nowMs += 100;
      bytesDone += bytesPerSecond / 10;
      meter.update(step('weights', bytesDone, bytesTotal, bytesTotal));
    }
    return reports.at(-1);
  };
  const near = (found, expected, tolerance) => assert.ok(Math.abs(found - expected) <= tolerance * expected, `${found}, expected ${expected}`);

  assert.deepEqual(reports.map(({ stage }) => stage), ['starting', 'opening']);
  assert.equal(transfer(0.1, 1e6).secondsLeft, undefined, 'one report tells no rate');
  const steady = transfer(9.9, 1e6);
  near(steady.bytesPerSecond, 1e6, 0.001);
  near(steady.secondsLeft, 30, 0.001);
  near(transfer(1, 2e6).bytesPerSecond, 1.28e6, 0.02); // a third of the way after a third of the window
  near(transfer(13, 2e6).bytesPerSecond, 2e6, 0.02);
  assert.equal(transfer(0.1, 20e6).secondsLeft, 0);
  mock.restoreAll();
});

test('progress: whatever comes in whatever order, it never goes back and is 1 only at the end', () => {
  let state = 7;
  const random = (below) => ((state = (state * 48271) % 2147483647), state % below);
  for (let load = 0; load < 500; load++) {
    const fractions = [];
    const meter = new ProgressMeter(({ fraction }) => fractions.push(fraction));
    const bytesTotal = 10 ** (3 + random(8));
    for (let i = 0; i < 40; i++) {
      const [stage, total] = [STAGES[1 + random(5)], 1 + random(30)];
      meter.update(random(5) ? step(stage, random(total + 1), total, i < 5 ? 0 : bytesTotal) : { waitMs: random(5000), reason: 'rain' });
    }
    for (const stage of STAGES.slice(1, -1)) meter.update(step(stage, 1, 1, bytesTotal));
    assert.ok(fractions.every((fraction, i) => fraction >= (fractions[i - 1] ?? 0) && fraction < 1), `${fractions}`);
    assert.ok(fractions.at(-1) > 0.9, `${fractions.at(-1)} when all is done`);
    meter.ready();
    assert.equal(fractions.at(-1), 1);
  }
});

test('progress: texts for people', () => {
  const texts = [];
  const meter = new ProgressMeter(({ text }) => texts.push(text));
  const said = (event) => (meter.update(event), texts.at(-1));
  assert.equal(said(step('opening', 0, 0)), 'Reading the configuration and the tokenizer');
  assert.equal(said({ waitMs: 11_200, reason: 'the server is busy' }), 'Waiting 12 s: the server is busy');
  assert.equal(said({ waitMs: 0, reason: '' }), 'Reading the configuration and the tokenizer');
  assert.equal(said(step('measuring', 0, 1)), 'Finding the fastest kernels');
  assert.equal(said(step('compiling', 3, 22)), 'Compiling kernels: 3 of 22');
  assert.equal(said(step('weights', 120.3e6, 714e6, 714e6)), 'Fetching: 120 of 714 MB');
  assert.equal(said(step('weights', 4.1e6, 4.3e6, 4.3e6, { fetches: false })), 'Reading: 4.1 of 4.3 MB');
  assert.equal(said(step('weights', 1.25e9, 2.5e9, 2.5e9, { quantizes: true })), 'Fetching and quantizing: 1.3 of 2.5 GB');
  assert.equal(said(step('warming-up', 0, 1)), 'Warming up');
});

browserTest('progress of real loads: every stage, one after the other, to the end', { timeoutMs: 300_000 }, async ({ page, server }) => {
  await openBlank(page);
  const load = (source, variant) => page.evaluate(async ({ source, variant }) => {
    const reports = [];
    const files = source === 'picked' && (await window.pick('/fixtures/tiny-a/'));
    let resolved = false;
    const onProgress = (progress) => reports.push({ ...progress, resolved });
    const engine = await window.MobileMoE.load(files || source, { ...(variant && { variant }), onProgress });
    resolved = true;
    engine.dispose();
    return reports;
  }, { source, variant });
  Object.assign(server.faults, { path: /tiny-a\/model\.safetensors$/, bytesPerSecond: 4_000_000 });
  for (const [source, variant, verb] of [
    ['/fixtures/tiny-a/', undefined, 'Fetching'],
    ['picked', SOFTWARE, 'Reading'],
    ['/fixtures/tiny-a-sft/', SOFTWARE, 'Fetching and quantizing'],
  ]) {
    const reports = await load(source, variant);
    const stages = reports.map(({ stage }) => stage).filter((stage, i, all) => stage !== all[i - 1]);
    assert.deepEqual([...new Set(stages)].sort(), STAGES.filter((stage) => stage !== 'measuring' || !variant).sort(), source);
    for (const [i, { stage, fraction, text, resolved }] of reports.entries()) {
      assert.ok(fraction >= (reports[i - 1]?.fraction ?? 0), `${source}: from ${reports[i - 1]?.fraction} to ${fraction}`);
      assert.equal(fraction === 1, i === reports.length - 1);
      assert.ok(!resolved && text.length > 0);
      if (stage === 'weights') assert.match(text, new RegExp(`^${verb}: [\\d.]+ of [\\d.]+ MB$`));
    }
    // A bar that stands still and then jumps tells nothing.
    assert.ok(new Set(reports.map(({ fraction }) => fraction)).size >= 6, `${reports.map(({ fraction }) => fraction)}`);
  }
});
