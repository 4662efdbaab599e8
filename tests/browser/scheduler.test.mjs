// When an abort is heard, and whose turn it is, without a browser: the engine is scripted.

import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { mock, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';

import { Flow } from '../../pkg/dist/flow.js';
import { Scheduler } from '../../pkg/dist/generate.js';

const LENGTH = 5000;

/**
 * An engine whose tokens, and chunks of scorings, are there at once, as those of steps that ran ahead are.
 * `onStep(begun, steps)` hears that the generation or scoring with the number `begun` made its `steps`-th step.
 */
function scripted(onStep) {
  const steps = [];
  let sessions = 0;
  const step = async (begun) => {
    if (steps[begun] === LENGTH) return null;
    await onStep(begun, (steps[begun] += 1));
    return { id: 0, text: 'a' };
  };
  const begin = async () => steps.push(0) - 1;
  const end = async (begun) => ({
    finishReason: steps[begun] < LENGTH ? 'abort' : 'length',
    tokens: new Uint32Array(steps[begun]),
    rest: '',
  });
  return {
    createSession: async () => sessions++,
    freeSession() {},
    heapBytes: () => 0,
    begin,
    step,
    end,
    beginScore: begin,
    scoreChunk: async (begun) => ((await step(begun)) ? null : { isGreedy: true }),
    endScore() {},
    // "a", and the end.
    vocabulary: () => ({ bytes: Uint8Array.of(97), ends: Uint32Array.of(1, 1), special: Uint8Array.of(0, 1), endIds: Uint32Array.of(1) }),
  };
}

/** Runs one call of `generate`: what comes of it, and its events. */
async function generate(scheduler, signal, format) {
  const events = [];
  const request = { prompt: { ids: Uint32Array.of(1) }, choices: 1, seed: 0, options: {}, format };
  const [{ finishReason, tokens }] = await scheduler.generate(request, (event) => events.push(event), signal);
  return { finishReason, count: tokens.length, told: events.filter(({ token }) => token).length };
}

test('once a generation is aborted, no step of it is begun', async () => {
  const controller = new AbortController();
  const engine = scripted((_, steps) => steps === 3 && controller.abort());
  const ended = await generate(new Scheduler(engine, {}), controller.signal);
  assert.deepEqual(ended, { finishReason: 'abort', count: 3, told: 3 });
});

test('nor where it waits for its turn', async () => {
  const controller = new AbortController();
  const engine = scripted(async (begun, steps) => {
    if (begun !== 0 || steps !== 3) return;
    await setImmediate();
    controller.abort();
  });
  const scheduler = new Scheduler(engine, {});
  const [first, second] = await Promise.all([new AbortController(), controller].map(({ signal }) => generate(scheduler, signal)));
  assert.deepEqual(first, { finishReason: 'length', count: LENGTH, told: LENGTH });
  assert.deepEqual(second, { finishReason: 'abort', count: 2, told: 2 });
});

test('once a scoring is aborted, no chunk of it is begun', async () => {
  const controller = new AbortController();
  const chunks = [];
  const engine = scripted((_, steps) => chunks.push(steps) === 3 && controller.abort());
  const ids = Uint32Array.of(1);
  await assert.rejects(new Scheduler(engine, {}).score(ids, ids, controller.signal), { code: 'Aborted' });
  assert.deepEqual(chunks, [1, 2, 3]);
});

test('messages are heard between two tokens, though the next one is there', async () => {
  const controller = new AbortController();
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => (port1.close(), controller.abort());
  const engine = scripted((_, steps) => steps === 3 && port2.postMessage('abort'));
  const { finishReason, count } = await generate(new Scheduler(engine, {}), controller.signal);
  assert.equal(finishReason, 'abort');
  // Node takes a thousand messages of one port and more before those of another; browsers take all in their order.
  assert.ok(count < LENGTH / 2, `${count} tokens, aborted at the third`);
});

test('what nobody reads is not generated, and is in nobody’s way', async () => {
  const steps = [];
  const scheduler = new Scheduler(scripted((begun, step) => (steps[begun] = step)), {});
  /** A call whose events are read as `read` says. */
  const start = (session) => {
    const [flow, controller] = [new Flow(), new AbortController()];
    const request = { prompt: { ids: Uint32Array.of(1) }, session, choices: 1, seed: 0, options: {} };
    const ended = scheduler.generate(request, () => flow.sent(), controller.signal, flow);
    return { flow, controller, ended };
  };
  const settle = () => new Promise((resolve) => setTimeout(resolve, 100));
  const unread = [start(), start(), start(), start()];
  await settle();
  assert.ok(steps.length === 4 && steps.every((step) => step > 50 && step < 200), `${steps}`);
  const waiting = [...steps];
  // Others go on, though as many wait as may run at once.
  assert.equal((await generate(scheduler, new AbortController().signal)).finishReason, 'length');
  assert.deepEqual(steps.slice(0, 4), waiting);
  unread[0].flow.taken(100);
  await settle();
  assert.equal(steps[0], waiting[0] + 100, 'so many more as were read');
  for (const { controller } of unread) controller.abort();
  for (const { ended } of unread) assert.equal((await ended)[0].finishReason, 'abort');
  // Whoever waits for the session gets it.
  const session = await scheduler.createSession();
  const held = start(session);
  await settle();
  await scheduler.freeSession(session);
  assert.equal((await held.ended)[0].finishReason, 'length');
});

test('an abort is heard while the module of structured output is on its way, and takes it from nobody else', async () => {
  const module = readFileSync(new URL('../../pkg/wasm/mobilemoe_constrain_bg.wasm', import.meta.url));
  let arrive;
  const fetch = mock.method(globalThis, 'fetch', () => new Promise((resolve) => (arrive = resolve)));
  const controller = new AbortController();
  const scheduler = new Scheduler(scripted(() => {}), { vocabSize: 2 }, '/mobilemoe_constrain_bg.wasm');
  const format = { kind: 'regex', source: 'aaa' };
  const [aborted, other] = [controller, new AbortController()].map(({ signal }) => generate(scheduler, signal, format));
  for (let turns = 0; !arrive; turns++) {
    assert.ok(turns < 1000, 'the module is never asked for');
    await setImmediate();
  }
  controller.abort();
  assert.deepEqual(await aborted, { finishReason: 'abort', count: 0, told: 0 });
  arrive(new Response(module, { headers: { 'Content-Type': 'application/wasm' } }));
  assert.deepEqual(await other, { finishReason: 'stop', count: 3, told: 3 });
  assert.equal(fetch.mock.callCount(), 1);
  mock.restoreAll();
});
