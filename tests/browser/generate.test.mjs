// Generation through the class: streams, stops, aborts, order, seeds, refusals, and the death of the worker.

import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';

import { load, openBlank, workersGone } from './engine.mjs';
import { browserTest } from './harness.mjs';

/** Compiling the kernels costs a software GPU most of a test's time, so tests share an engine where they can. */
const TIMEOUT_MS = 600_000;
const TINY_A = '/fixtures/tiny-a/';
const CHAT = [{ role: 'user', content: 'Name one JVM language.' }];

browserTest('answers of the synthetic model', { timeoutMs: TIMEOUT_MS }, async ({ page }, t) => {
  await load(page, 'synthetic-tiny');

  await t.test('an answer streams as it is made, and the pieces are the whole', async () => {
    // Hot sampling from an untrained model: broken and split characters in plenty.
    for (const options of [{ maxTokens: 400 }, { maxTokens: 200, temperature: 2, seed: 7 }]) {
      const { pieces, arrivals, result, decoded } = await page.evaluate(async ({ messages, options }) => {
        const pieces = [];
        const arrivals = [];
        const stream = window.engine.generate(messages, options);
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
      if (result.finishReason === 'length') {
        assert.equal(result.tokens.length, options.maxTokens);
        assert.ok(new Set(arrivals.map(Math.round)).size > 5, 'all pieces came at once');
      }
      assert.ok(result.tokens.length > 10, `only ${result.tokens.length} tokens: nothing to learn from`);
      assert.ok(result.firstTokenMs > 0 && result.decodeMs > 0 && result.tokensPerSecond > 0);
    }
  });

  await t.test('a character split over tokens arrives whole', async () => {
    const text = '🦙 안녕 👩‍👩‍👧‍👦!';
    const { count, back } = await page.evaluate(async (text) => {
      const ids = await window.engine.tokenize(text);
      return { count: ids.length, back: await window.engine.detokenize(ids) };
    }, text);
    assert.ok(count > [...text].length, 'its characters are split over tokens');
    assert.equal(back, text);
  });

  await t.test('stop strings end the text before them, wherever they fall', async () => {
    const answer = (stop) => page.evaluate(async (stop) => {
      const stream = window.engine.generate('Once upon a time', { maxTokens: 60, stop });
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

  await t.test('messages and options may be reactive proxies, as Vue and Svelte have them', async () => {
    const { plain, proxied, sent } = await page.evaluate(async (messages) => {
      const { engine } = window;
      const reactive = (object) => new Proxy(object, {
        get(target, name) {
          const value = Reflect.get(target, name);
          return Array.isArray(value) || value?.constructor === Object ? reactive(value) : value;
        },
      });
      const responseFormat = { type: 'json_schema', json_schema: { schema: { enum: ['one', 'two'] } } };
      const options = { maxTokens: 12, stop: ['never'], logitBias: { 40: 2 }, responseFormat, signal: new AbortController().signal };
      const inParts = messages.map(({ role, content }) => ({ role, content: [{ type: 'text', text: content }] }));
      const run = async (as) => {
        const { text } = await engine.generate(as(messages), as(options)).result;
        const { choices } = await engine.chat.completions.create(as({ messages: inParts, max_tokens: 4, stop: ['never'] }));
        const ids = await engine.tokenizeChat(as(messages));
        return [text, choices[0].message.content, [...ids], await engine.applyChatTemplate(as(messages)), await engine.countTokens(as(messages))];
      };
      const sent = await window.failure(engine.generate([{ role: 'user', content: () => 'Hi' }]).result);
      return { plain: await run((object) => object), proxied: await run(reactive), sent };
    }, CHAT);
    assert.deepEqual(proxied, plain);
    assert.match(plain[0], /^"(one|two)"$/);
    assert.equal(sent.code, 'BadOptions', 'what cannot be sent at all is refused');
  });

  await t.test('an abort ends the stream within one token and keeps what came', async () => {
    const run = (how) => page.evaluate(async (how) => {
      const { engine } = window;
      const controller = new AbortController();
      const stream = engine.generate([190, 68, 148], { maxTokens: 4000, signal: controller.signal });
      const seen = [];
      let seenWhenHeard;
      for await (const { id } of stream.tokens()) {
        seen.push(id);
        if (seen.length !== 3) continue;
        if (how === 'break') break;
        if (how === 'signal') controller.abort();
        else stream.abort();
        // What is asked after the abort is answered after it was heard, however long that takes here.
        void engine.tokenize('').then(() => (seenWhenHeard = seen.length));
      }
      const { finishReason, tokens } = await stream.result;
      return { finishReason, tokens: [...tokens], seen, seenWhenHeard };
    }, how);
    for (const how of ['signal', 'method']) {
      const { finishReason, tokens, seen, seenWhenHeard } = await run(how);
      assert.equal(finishReason, 'abort');
      assert.deepEqual(seen, tokens);
      assert.ok(seen.length <= seenWhenHeard + 1, `${how}: ${seen.length} tokens, ${seenWhenHeard} when the abort was heard`);
      assert.ok(seen.length < 1000, `${how}: ${seen.length} tokens, aborted at the third`);
    }
    const left = await run('break');
    assert.equal(left.finishReason, 'abort', 'leaving the loop aborts');
    assert.ok(left.tokens.length < 1000, `${left.tokens.length} tokens, left at the third`);

    // The engine goes on, and so does the conversation.
    const after = await page.evaluate(async () => {
      const aborted = new AbortController();
      aborted.abort();
      const [never, next] = await Promise.all([
        window.engine.generate([1, 2], { signal: aborted.signal }).result,
        window.engine.generate([190, 68, 148], { maxTokens: 5 }).result,
      ]);
      return { never: [never.finishReason, never.tokens.length], next: [next.finishReason, next.tokens.length] };
    });
    assert.deepEqual(after, { never: ['abort', 0], next: ['length', 5] });
  });

  await t.test('an abort takes hold between the passes of a long prompt', async () => {
    const { finishReason, count, cached } = await page.evaluate(async () => {
      const ids = Array.from({ length: 8000 }, (_, i) => (i * 7) % 512);
      const controller = new AbortController();
      const onPrompt = ({ done }) => done >= 256 && controller.abort();
      const first = window.engine.generate(ids, { signal: controller.signal, maxTokens: 4, onPrompt });
      const { finishReason, tokens } = await first.result;
      const next = await window.engine.generate(ids.slice(0, 256), { maxTokens: 1 }).result;
      return { finishReason, count: tokens.length, cached: next.cachedTokens };
    });
    assert.deepEqual([finishReason, count], ['abort', 0]);
    assert.equal(cached, 255, 'what was done of the aborted prompt is kept');
  });
});

browserTest('tokens from a fixture', { timeoutMs: TIMEOUT_MS }, async ({ page }, t) => {
  const { contextLength, vocabSize } = await load(page, TINY_A, { contextLength: 256, chunkTokens: 16 });
  assert.deepEqual({ contextLength, vocabSize }, { contextLength: 256, vocabSize: 512 });

  await t.test('a seed repeats an answer, another gives another', async () => {
    const sample = (options) => page.evaluate(async (options) => {
      const { tokens, seed } = await window.engine.generate([9, 5], { maxTokens: 10, temperature: 1, ...options }).result;
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

  await t.test('calls in flight take turns, and what is short comes in between', async () => {
    const { order, alone, together } = await page.evaluate(async () => {
      const { engine } = window;
      const prompts = [[1, 2, 3], [4, 5], [6], [7, 8], [9, 10, 11], [12]];
      const tokens = (prompt, maxTokens) => engine.generate(prompt, { maxTokens }).result.then(({ tokens }) => [...tokens]);
      const alone = [];
      for (const prompt of prompts) alone.push(await tokens(prompt, 12));
      const order = [];
      const note = (name) => (result) => (order.push(name), result);
      const long = engine.generate([190, 68], { maxTokens: 60 }).result.then(note('long'));
      const score = engine.score([1], [2]).then(note('score'));
      const together = await Promise.all(prompts.map((prompt, i) => tokens(prompt, 12).then(note(i))));
      await Promise.all([long, score]);
      return { order, alone, together };
    });
    assert.deepEqual(together, alone, 'the answers do not mix');
    assert.equal(order[0], 'score');
    // Four at a time, the long one among them: the first three end together, then the next three, then it.
    assert.deepEqual([order.slice(1, 4).sort(), order.slice(4, 7).sort(), order[7]], [[0, 1, 2], [3, 4, 5], 'long']);
  });

  await t.test('the next turn reuses the cache', async () => {
    const { cached, warm, cold } = await page.evaluate(async () => {
      const prompt = Array.from({ length: 40 }, (_, i) => (i * 13) % 512);
      const { tokens } = await window.engine.generate(prompt, { maxTokens: 8 }).result;
      const next = [...prompt, ...tokens, 17, 18];
      const warm = await window.engine.generate(next, { maxTokens: 8 }).result;
      await window.engine.generate([3], { maxTokens: 1 }).result; // the cache forgets
      const cold = await window.engine.generate(next, { maxTokens: 8 }).result;
      return { cached: [warm.cachedTokens, cold.cachedTokens], warm: [...warm.tokens], cold: [...cold.tokens] };
    });
    assert.ok(cached[0] >= 47, `${cached[0]} of 50 tokens reused`);
    assert.equal(cached[1], 0);
    assert.deepEqual(warm, cold, 'with and without the cache, the same answer');
  });

  await t.test('refused requests name what is wrong, and the engine goes on', async () => {
    const failures = await page.evaluate(async () => {
      const { engine, failure } = window;
      const ids = (count) => new Uint32Array(count).fill(5);
      return {
        long: await failure(engine.generate(ids(257)).result),
        empty: await failure(engine.generate([]).result),
        range: await failure(engine.generate([3, 512]).result),
        notAnId: await failure(engine.generate([3, -1]).result),
        scoreRange: await failure(engine.score([3], [512])),
        temperature: await failure(engine.generate([1], { temperature: -1 }).result),
        topP: await failure(engine.generate([1], { topP: 0 }).result),
        unknown: await failure(engine.generate([1], { topp: 0.5 }).result),
        maxTokens: await failure(engine.generate([1], { maxTokens: -3 }).result),
        chat: await failure(engine.generate([{ role: 'user', content: 'Hi' }]).result),
        iterated: await failure((async () => { for await (const _ of engine.generate('Hi')); })()),
      };
    });
    const expect = {
      long: ['PromptTooLong', /257.*256/],
      empty: ['EmptyPrompt', /at least one/],
      range: ['TokenOutOfRange', /512/],
      notAnId: ['TokenOutOfRange', /ids\[1\] is -1/],
      scoreRange: ['TokenOutOfRange', /512/],
      temperature: ['Option', /temperature.*-1/],
      topP: ['Option', /top_?p/i],
      unknown: ['BadOptions', /no "topp"/],
      maxTokens: ['BadOptions', /-3/],
      chat: ['MissingFile', /tokenizer\.json/],
      iterated: ['MissingFile', /tokenizer\.json/],
    };
    for (const [name, [code, message]] of Object.entries(expect)) {
      assert.equal(failures[name].code, code, `${name}: ${failures[name].message}`);
      assert.match(failures[name].message, message);
    }
    const full = await page.evaluate(async () => {
      const { tokens, finishReason } = await window.engine.generate(new Uint32Array(252).fill(5), { maxTokens: 50 }).result;
      return { count: tokens.length, finishReason };
    });
    assert.deepEqual(full, { count: 4, finishReason: 'length' }, 'the context’s end is an ordinary end');
  });

  await t.test('disposing ends the worker and rejects what waits', async () => {
    const codes = await page.evaluate(async () => {
      const { engine, failure } = window;
      const running = failure(engine.generate([1, 2], { maxTokens: 200 }).result);
      engine.dispose();
      return [(await running).code, (await failure(engine.logits([1]))).code];
    });
    assert.deepEqual(codes, ['Disposed', 'Disposed']);
    await workersGone(page);
  });
});

browserTest('the checkpoint’s end tokens stop it and are not part of the answer', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  await openBlank(page);
  const { prompt, tokens } = JSON.parse(readFileSync(new URL('../fixtures/tiny-a/expected.json', import.meta.url))).greedy.p7;
  const stopped = await page.evaluate(async ({ folder, prompt, end }) => {
    const config = await (await fetch(`${folder}config.json`)).json();
    config.eos_token_id = [1, end];
    const engine = await window.MobileMoE.load(await window.pick(folder, { 'config.json': JSON.stringify(config) }));
    const { tokens, finishReason } = await engine.generate(prompt, { maxTokens: 20 }).result;
    return { tokens: [...tokens], finishReason };
  }, { folder: TINY_A, prompt, end: tokens[6] });
  assert.deepEqual(stopped, { tokens: tokens.slice(0, 6), finishReason: 'stop' });
});

browserTest('a crashed worker rejects everything that waits', { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
  await load(page, TINY_A);
  const waiting = page.evaluate(async () => {
    const { engine, failure } = window;
    const [running, queued, lost] = await Promise.all([
      failure(engine.generate([1, 2], { maxTokens: 4000 }).result),
      failure(engine.generate([3, 4], { maxTokens: 4000 }).result),
      engine.lost,
    ]);
    return { running, queued, lost: lost.code, later: await failure(engine.score([1], [2])) };
  });
  await page.workers()[0].evaluate(() => void setTimeout(() => { throw new Error('on purpose'); }, 200));
  const { running, queued, lost, later } = await waiting;
  assert.equal(lost, 'WorkerCrashed');
  for (const failure of [running, queued, later]) {
    assert.equal(failure.code, 'WorkerCrashed');
    assert.match(failure.message, /on purpose/);
  }
});

browserTest('a lost device rejects everything that waits, and loading again works', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
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
      failure(engine.generate([1, 2], { maxTokens: 4000 }).result),
      failure(engine.generate([3, 4], { maxTokens: 4000 }).result),
      engine.lost,
    ]);
    return [running.code, queued.code, lost.code];
  });
  await page.workers()[0].evaluate(() => void setTimeout(() => globalThis.device.destroy(), 200));
  assert.deepEqual(await waiting, ['DeviceLost', 'DeviceLost', 'DeviceLost']);

  // Idle, too: nobody has to ask.
  await load(page, TINY_A);
  await page.workers()[0].evaluate(() => void globalThis.device.destroy());
  assert.equal(await page.evaluate(async () => (await window.engine.lost).code), 'DeviceLost');

  await load(page, TINY_A);
  const count = await page.evaluate(async () => (await window.engine.generate([1], { maxTokens: 3 }).result).tokens.length);
  assert.equal(count, 3);
});
