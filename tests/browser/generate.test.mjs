// Generation through the class: streams, stops, aborts, order, seeds, refusals, and the death of the worker.

import { strict as assert } from 'node:assert';

import { load, openBlank } from './engine.mjs';
import { browserTest } from './harness.mjs';

const TINY_A = '/fixtures/tiny-a/';
const CHAT = [{ role: 'user', content: 'Name one JVM language.' }];

browserTest('an answer streams as it is made, and the pieces are the whole', {}, async ({ page }) => {
  await load(page, 'synthetic-tiny');
  // Hot sampling from an untrained model: broken and split characters in plenty.
  for (const options of [{ maxTokens: 40 }, { maxTokens: 200, temperature: 2, seed: 7 }]) {
    const { pieces, arrivals, result, decoded } = await page.evaluate(async ({ messages, options }) => {
      const pieces = [];
      const arrivals = [];
      const stream = window.engine.chat(messages, options);
      for await (const piece of stream) {
        pieces.push(piece);
        arrivals.push(performance.now());
      }
      const result = await stream.result;
      const decoded = await window.engine.detokenize(result.tokens, { skipSpecialTokens: true });
      return { pieces, arrivals, result: { ...result, tokens: [...result.tokens] }, decoded };
    }, { messages: CHAT, options });
    assert.equal(pieces.join(''), decoded);
    assert.equal(result.text, decoded);
    assert.ok(pieces.every((piece) => piece.length > 0 && piece.isWellFormed()));
    assert.ok(['length', 'stop'].includes(result.finishReason));
    if (result.finishReason === 'length') assert.equal(result.tokens.length, options.maxTokens);
    assert.ok(result.tokens.length > 10, `only ${result.tokens.length} tokens: nothing to learn from`);
    assert.ok(new Set(arrivals.map(Math.round)).size > 5, 'all pieces came at once');
    assert.ok(result.firstTokenMs > 0 && result.decodeMs > 0 && result.tokensPerSecond > 0);
  }
});

browserTest('a character split over tokens arrives whole', {}, async ({ page }) => {
  await load(page, 'synthetic-tiny');
  const text = '🦙 안녕 👩‍👩‍👧‍👦!';
  const { count, back } = await page.evaluate(async (text) => {
    const ids = await window.engine.tokenize(text);
    return { count: ids.length, back: await window.engine.detokenize(ids) };
  }, text);
  assert.ok(count > [...text].length, 'its characters are split over tokens');
  assert.equal(back, text);
});

browserTest('an abort ends the stream within one token and keeps what came', {}, async ({ page }) => {
  await load(page, TINY_A);
  const run = (how) => page.evaluate(async (how) => {
    const controller = new AbortController();
    const stream = window.engine.generateTokens([190, 68, 148], { maxTokens: 400, signal: controller.signal });
    const seen = [];
    let seenAtAbort;
    for await (const id of stream) {
      seen.push(id);
      if (seen.length === 3) {
        if (how === 'break') break;
        if (how === 'signal') controller.abort();
        else stream.abort();
        seenAtAbort = seen.length;
      }
    }
    const { finishReason, tokens } = await stream.result;
    return { finishReason, tokens: [...tokens], seen, seenAtAbort };
  }, how);
  for (const how of ['signal', 'method']) {
    const { finishReason, tokens, seen } = await run(how);
    assert.equal(finishReason, 'abort');
    assert.deepEqual(seen, tokens);
    assert.ok(tokens.length >= 3 && tokens.length <= 4, `${how}: ${tokens.length} tokens, aborted at the third`);
  }
  const left = await run('break');
  assert.equal(left.finishReason, 'abort', 'leaving the loop aborts');
  assert.ok(left.tokens.length <= 4);

  // The engine goes on, and so does the conversation.
  const after = await page.evaluate(async () => {
    const aborted = new AbortController();
    aborted.abort();
    const [never, next] = await Promise.all([
      window.engine.generateTokens([1, 2], { signal: aborted.signal }).result,
      window.engine.generateTokens([190, 68, 148], { maxTokens: 5 }).result,
    ]);
    return { never: [never.finishReason, never.tokens.length], next: [next.finishReason, next.tokens.length] };
  });
  assert.deepEqual(after, { never: ['abort', 0], next: ['length', 5] });
});

browserTest('an abort takes hold between the passes of a long prompt', {}, async ({ page }) => {
  await load(page, TINY_A, { chunkTokens: 16 });
  const { finishReason, count, cached } = await page.evaluate(async () => {
    const ids = Array.from({ length: 2000 }, (_, i) => (i * 7) % 512);
    const controller = new AbortController();
    const first = window.engine.generateTokens(ids, { signal: controller.signal, maxTokens: 4 });
    setTimeout(() => controller.abort(), 300);
    const { finishReason, tokens } = await first.result;
    const next = await window.engine.generateTokens(ids, { maxTokens: 1 }).result;
    return { finishReason, count: tokens.length, cached: next.cachedTokens };
  });
  assert.deepEqual([finishReason, count], ['abort', 0]);
  assert.ok(cached > 0 && cached < 1999, `${cached} tokens of the aborted prompt were kept`);
});

browserTest('stop strings end the text before them, wherever they fall', {}, async ({ page }) => {
  await load(page, 'synthetic-tiny');
  const answer = (stop) => page.evaluate(async (stop) => {
    const stream = window.engine.complete('Once upon a time', { maxTokens: 60, stop });
    const pieces = [];
    for await (const piece of stream) pieces.push(piece);
    const { text, finishReason, tokens } = await stream.result;
    return { pieces, text, finishReason, count: tokens.length };
  }, stop);
  const whole = await answer([]);
  assert.equal(whole.finishReason, 'length');
  // Across the border of two pieces, then inside one.
  const border = whole.pieces.slice(0, 9).join('').length;
  for (const [from, to] of [[border - 2, border + 2], [border + 1, border + 3]]) {
    const stop = whole.text.slice(from, to);
    const { pieces, text, finishReason, count } = await answer(stop);
    assert.equal(finishReason, 'stop_string');
    assert.equal(text, whole.text.slice(0, whole.text.indexOf(stop)), `stopped at ${JSON.stringify(stop)}`);
    assert.equal(pieces.join(''), text, 'nothing of the stop string was streamed');
    assert.ok(count < whole.count);
  }
  // A stop string that never comes takes nothing away.
  const { text, finishReason } = await answer([`${whole.text.slice(-1)}never`, 'neither']);
  assert.deepEqual({ text, finishReason }, { text: whole.text, finishReason: 'length' });
});

browserTest('the checkpoint’s end tokens stop it and are not part of the answer', {}, async ({ page }) => {
  await openBlank(page);
  const { greedy, stopped } = await page.evaluate(async (folder) => {
    const ids = [190, 68, 148, 175, 430, 415, 96];
    const generate = async (files) => {
      const engine = await window.MobileMoE.load(files);
      const { tokens, finishReason } = await engine.generateTokens(ids, { maxTokens: 20 }).result;
      engine.dispose();
      return { tokens: [...tokens], finishReason };
    };
    const greedy = await generate(await window.pick(folder));
    const config = await (await fetch(`${folder}config.json`)).json();
    config.eos_token_id = [1, greedy.tokens[6]];
    const stopped = await generate(await window.pick(folder, { 'config.json': JSON.stringify(config) }));
    return { greedy, stopped };
  }, TINY_A);
  assert.equal(greedy.finishReason, 'length');
  const end = greedy.tokens.indexOf(greedy.tokens[6]);
  assert.deepEqual(stopped, { tokens: greedy.tokens.slice(0, end), finishReason: 'stop' });
});

browserTest('a seed repeats an answer, another gives another', {}, async ({ page }) => {
  await load(page, TINY_A);
  const sample = (options) => page.evaluate(async (options) => {
    const { tokens, seed } = await window.engine.generateTokens([9, 5], { maxTokens: 24, temperature: 1, ...options }).result;
    return { tokens: [...tokens], seed };
  }, options);
  const first = await sample({ seed: 1 });
  assert.deepEqual(await sample({ seed: 1 }), first);
  assert.notDeepEqual((await sample({ seed: 2 })).tokens, first.tokens);
  const fresh = await sample({});
  assert.notDeepEqual((await sample({})).tokens, fresh.tokens, 'without a seed, answers differ');
  assert.deepEqual(await sample({ seed: fresh.seed }), fresh, 'the seed it reports repeats it');
  // Sampling among one token, or only among the likeliest, is greedy decoding.
  const greedy = (await sample({ temperature: 0 })).tokens;
  assert.notDeepEqual(first.tokens, greedy);
  for (const one of [{ topK: 1 }, { topP: 1e-6 }, { minP: 1 }]) {
    assert.deepEqual((await sample({ ...one, seed: 3 })).tokens, greedy, JSON.stringify(one));
  }
});

browserTest('calls in flight are served in order; the next turn reuses the cache', {}, async ({ page }) => {
  await load(page, TINY_A);
  const order = await page.evaluate(async () => {
    const order = [];
    const note = (name) => () => order.push(name);
    await Promise.all([
      window.engine.generateTokens([1, 2, 3], { maxTokens: 6 }).result.then(note('first')),
      window.engine.score([1], [2]).then(note('second')),
      window.engine.generateTokens([4, 5], { maxTokens: 2 }).result.then(note('third')),
      window.engine.logits([7]).then(note('fourth')),
    ]);
    return order;
  });
  assert.deepEqual(order, ['first', 'second', 'third', 'fourth']);

  const { cached, warm, cold } = await page.evaluate(async () => {
    const prompt = Array.from({ length: 40 }, (_, i) => (i * 13) % 512);
    const { tokens } = await window.engine.generateTokens(prompt, { maxTokens: 8 }).result;
    const next = [...prompt, ...tokens, 17, 18];
    const warm = await window.engine.generateTokens(next, { maxTokens: 8 }).result;
    await window.engine.generateTokens([3], { maxTokens: 1 }).result; // the cache forgets
    const cold = await window.engine.generateTokens(next, { maxTokens: 8 }).result;
    return { cached: [warm.cachedTokens, cold.cachedTokens], warm: [...warm.tokens], cold: [...cold.tokens] };
  });
  assert.ok(cached[0] >= 47, `${cached[0]} of 50 tokens reused`);
  assert.equal(cached[1], 0);
  assert.deepEqual(warm, cold, 'with and without the cache, the same answer');
});

browserTest('refused requests name what is wrong, and the engine goes on', {}, async ({ page }) => {
  const { contextLength, vocabSize } = await load(page, TINY_A, { contextLength: 64 });
  assert.deepEqual({ contextLength, vocabSize }, { contextLength: 64, vocabSize: 512 });
  const failures = await page.evaluate(async () => {
    const { engine, failure } = window;
    const ids = (count) => new Uint32Array(count).fill(5);
    return {
      long: await failure(engine.generateTokens(ids(65)).result),
      empty: await failure(engine.generateTokens([]).result),
      range: await failure(engine.generateTokens([3, 512]).result),
      notAnId: await failure(engine.generateTokens([3, -1]).result),
      scoreRange: await failure(engine.score([3], [512])),
      temperature: await failure(engine.generateTokens([1], { temperature: -1 }).result),
      topP: await failure(engine.generateTokens([1], { topP: 0 }).result),
      maxTokens: await failure(engine.generateTokens([1], { maxTokens: -3 }).result),
      chat: await failure(engine.chat([{ role: 'user', content: 'Hi' }]).result),
      iterated: await failure((async () => { for await (const _ of engine.complete('Hi')); })()),
    };
  });
  const expect = {
    long: ['PromptTooLong', /65.*64/],
    empty: ['EmptyPrompt', /at least one/],
    range: ['TokenOutOfRange', /512/],
    notAnId: ['TokenOutOfRange', /ids\[1\] is -1/],
    scoreRange: ['TokenOutOfRange', /512/],
    temperature: ['Option', /temperature.*-1/],
    topP: ['Option', /top_?p/i],
    maxTokens: ['BadOptions', /-3/],
    chat: ['MissingFile', /tokenizer\.json/],
    iterated: ['MissingFile', /tokenizer\.json/],
  };
  for (const [name, [code, message]] of Object.entries(expect)) {
    assert.equal(failures[name].code, code, `${name}: ${failures[name].message}`);
    assert.match(failures[name].message, message);
  }
  const full = await page.evaluate(async () => {
    const { tokens, finishReason } = await window.engine.generateTokens(new Uint32Array(60).fill(5), { maxTokens: 50 }).result;
    return { count: tokens.length, finishReason };
  });
  assert.deepEqual(full, { count: 4, finishReason: 'length' }, 'the context’s end is an ordinary end');
});

browserTest('a crashed worker rejects everything that waits', { expectedProblems: [/on purpose/] }, async ({ page }) => {
  await load(page, TINY_A);
  const waiting = page.evaluate(async () => {
    const { engine, failure } = window;
    const [running, queued, lost] = await Promise.all([
      failure(engine.generateTokens([1, 2], { maxTokens: 2000 }).result),
      failure(engine.score([1], [2])),
      engine.lost,
    ]);
    return { running, queued, lost: lost.code, later: await failure(engine.score([1], [2])) };
  });
  await page.workers()[0].evaluate(() => void setTimeout(() => { throw new Error('on purpose'); }, 500));
  const { running, queued, lost, later } = await waiting;
  assert.equal(lost, 'WorkerCrashed');
  for (const failure of [running, queued, later]) {
    assert.equal(failure.code, 'WorkerCrashed');
    assert.match(failure.message, /on purpose/);
  }
});

browserTest('a lost device rejects everything that waits, and loading again works', {}, async ({ page, server }) => {
  await openBlank(page);
  // The worker's device, to be destroyed: taken hold of while the configuration comes slowly.
  server.faults.path = /config\.json/;
  server.faults.bytesPerSecond = 1000;
  page.on('worker', (worker) => worker.evaluate(() => {
    const { requestDevice } = GPUAdapter.prototype;
    GPUAdapter.prototype.requestDevice = async function (...args) {
      return (globalThis.device = await requestDevice.apply(this, args));
    };
  }));
  await load(page, TINY_A);
  const waiting = page.evaluate(async () => {
    const { engine, failure } = window;
    const [running, queued, lost] = await Promise.all([
      failure(engine.generateTokens([1, 2], { maxTokens: 2000 }).result),
      failure(engine.score([1], [2])),
      engine.lost,
    ]);
    return [running.code, queued.code, lost.code];
  });
  await page.workers()[0].evaluate(() => void setTimeout(() => globalThis.device.destroy(), 500));
  assert.deepEqual(await waiting, ['DeviceLost', 'DeviceLost', 'DeviceLost']);

  await load(page, TINY_A);
  const count = await page.evaluate(async () => (await window.engine.generateTokens([1], { maxTokens: 3 }).result).tokens.length);
  assert.equal(count, 3);
});

browserTest('disposing ends the worker and rejects what waits', {}, async ({ page }) => {
  await load(page, TINY_A);
  const codes = await page.evaluate(async () => {
    const { engine, failure } = window;
    const running = failure(engine.generateTokens([1, 2], { maxTokens: 2000 }).result);
    engine.dispose();
    return [(await running).code, (await failure(engine.logits([1]))).code];
  });
  assert.deepEqual(codes, ['Disposed', 'Disposed']);
  assert.equal(page.workers().length, 0);
});
