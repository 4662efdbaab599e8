// Sessions: what a conversation shares with its cache is computed once, forks go their own ways, tabs do not mix.

import { strict as assert } from 'node:assert';

import { load } from './engine.mjs';
import { browserTest } from './harness.mjs';

const TIMEOUT_MS = 600_000;

browserTest('sessions and tabs', { timeoutMs: TIMEOUT_MS }, async ({ page, context, server }, t) => {
  const facts = await load(page, 'synthetic-tiny', { chunkTokens: 32 });

  await t.test('the second turn computes the new tokens only, and answers as if it had computed all', async () => {
    const { turns, cold } = await page.evaluate(async () => {
      const { engine } = window;
      const turns = [];
      const messages = [];
      const session = await engine.createSession();
      for (const content of ['Name one JVM language.', 'Another one?', 'Which is older?']) {
        messages.push({ role: 'user', content });
        const { text, tokens, promptTokens, cachedTokens, memory } = await session.generate(messages, { maxTokens: 9 }).result;
        turns.push({ prompt: [...(await engine.tokenizeChat(messages))], promptTokens, cachedTokens, memory, tokens: [...tokens] });
        messages.push({ role: 'assistant', content: text });
        // Others in between, with a session of theirs.
        await engine.generate([1, 2, 3], { maxTokens: 1 }).result;
      }
      await session.dispose();
      messages.pop();
      const cold = await engine.generate(messages, { maxTokens: 9 }).result;
      return { turns, cold: { tokens: [...cold.tokens], cachedTokens: cold.cachedTokens } };
    });
    let held = []; // what the cache holds: all that was fed, so not the last token of an answer
    for (const { prompt, promptTokens, cachedTokens, memory, tokens } of turns) {
      const shared = prompt.findIndex((id, i) => held[i] !== id);
      assert.equal(promptTokens, prompt.length);
      assert.equal(cachedTokens, shared);
      assert.ok(memory.kvBytes >= (prompt.length + tokens.length - 1) * facts.kvBytesPerToken);
      held = [...prompt, ...tokens.slice(0, -1)];
    }
    // Text that is tokenized again may come out in other tokens; the turn before is shared at least up to its answer.
    assert.ok(turns[2].cachedTokens >= turns[1].promptTokens);
    assert.ok(cold.cachedTokens <= 1);
    assert.deepEqual(cold.tokens, turns[2].tokens);
  });

  await t.test('a fork goes on from the same cache, apart from the other', async () => {
    const { first, again, fork, other, gone, prompts } = await page.evaluate(async () => {
      const { engine, failure } = window;
      const ids = Array.from({ length: 40 }, (_, i) => (i * 13) % 512);
      const session = await engine.createSession();
      const pick = ({ tokens, cachedTokens }) => ({ tokens: [...tokens], cachedTokens });
      const prompts = [];
      const onPrompt = ({ done, total }) => prompts.push([done, total]);
      const run = async (session, prompt) => pick(await session.generate(prompt, { maxTokens: 6, onPrompt }).result);
      const first = await run(session, ids);
      const fork = await session.fork();
      const [other, again] = await Promise.all([run(fork, [...ids, 7, 8]), run(session, ids)]);
      const forked = await run(fork, ids);
      await session.dispose();
      await session.dispose();
      const gone = await failure(session.generate(ids).result);
      const cold = await run(await engine.createSession(), [...ids, 7, 8]);
      return { first, again, fork: forked, other: { ...other, cold: cold.tokens }, gone, prompts };
    });
    assert.deepEqual(prompts, [[32, 40], [32, 42]], 'prompts that are not cached are read in chunks');
    assert.deepEqual([first.cachedTokens, again.cachedTokens, other.cachedTokens, fork.cachedTokens], [0, 39, 40, 39]);
    assert.deepEqual(again.tokens, first.tokens);
    assert.deepEqual(fork.tokens, first.tokens);
    assert.deepEqual(other.tokens, other.cold);
    assert.equal(gone.code, 'Disposed');
  });

  await t.test('completions can be given a session, and choices of theirs are forks of it', async () => {
    const { cached, texts, alone } = await page.evaluate(async () => {
      const { engine } = window;
      const session = await engine.createSession();
      const params = { prompt: Array.from({ length: 40 }, (_, i) => (i * 17) % 512), max_tokens: 4, temperature: 1, seed: 3 };
      const create = (options) => engine.completions.create({ ...params, ...options }, { session });
      const cached = [];
      const texts = [];
      for (const options of [{}, { n: 3 }]) {
        const { choices, usage } = await create(options);
        cached.push(usage.prompt_tokens_details.cached_tokens);
        texts.push(choices.map(({ text }) => text));
      }
      await session.dispose();
      const { choices } = await engine.completions.create({ ...params, n: 3 });
      return { cached, texts, alone: choices.map(({ text }) => text) };
    });
    assert.deepEqual(cached, [0, 39]);
    assert.deepEqual(texts, [alone.slice(0, 1), alone]);
  });

  await t.test('calls on one session wait for each other; an abort takes a waiting one out at once', async () => {
    const { order, aborted } = await page.evaluate(async () => {
      const session = await window.engine.createSession();
      const order = [];
      const first = session.generate([1, 2], { maxTokens: 200 }).result.then(() => order.push('first'));
      const controller = new AbortController();
      const second = session.generate([1, 2, 3], { maxTokens: 40, signal: controller.signal }).result.then((result) => (order.push('second'), result));
      const third = session.generate([5], { maxTokens: 1 }).result.then(() => order.push('third'));
      controller.abort();
      const { finishReason } = await second;
      await Promise.all([first, third]);
      await session.dispose();
      return { order, aborted: finishReason };
    });
    assert.deepEqual(order, ['second', 'first', 'third']);
    assert.equal(aborted, 'abort');
  });

  await t.test('texts are scored as one, split where the tokenizer has the border', async () => {
    const { texts, ids } = await page.evaluate(async () => {
      const { engine } = window;
      const whole = await engine.tokenize('The cat sat', { addSpecialTokens: true });
      const context = await engine.tokenize('The cat', { addSpecialTokens: true });
      const list = ({ logprobs, isGreedy }) => ({ logprobs: [...logprobs], isGreedy });
      return {
        texts: [list(await engine.score('The cat', ' sat')), list(await engine.score('The cat ', 'sat'))],
        ids: list(await engine.score(context, whole.slice(context.length))),
      };
    });
    const aborted = await page.evaluate(() => window.failure(window.engine.score([1], [2, 3], { signal: AbortSignal.abort() })));
    assert.equal(aborted.code, 'Aborted');
    assert.deepEqual(texts, [ids, ids], 'a space at the border belongs to the continuation');
  });

  await t.test('whether a checkpoint can run is known before its weights are fetched', async () => {
    const { tiny, folder, pro, missing, code } = await page.evaluate(async () => {
      const { MobileMoE, failure } = window;
      const before = performance.getEntriesByType('resource').length;
      const folder = await MobileMoE.canRun('/fixtures/tiny-a/', { contextLength: 100, device: { powerPreference: 'low-power' } });
      return {
        tiny: await MobileMoE.canRun('synthetic-tiny', { chunkTokens: 32 }),
        folder,
        pro: await MobileMoE.canRun('synthetic-L'),
        missing: await failure(MobileMoE.canRun('/fixtures/nothing/')),
        code: (await failure(MobileMoE.canRun('synthetic-tiny', { signal: AbortSignal.abort() }))).code,
        before,
      };
    });
    assert.deepEqual([tiny.ok, tiny.missing], [true, []]);
    const { adapter, memory } = tiny;
    assert.ok(adapter.name && adapter.maxBufferSize >= 2 ** 28 && Array.isArray(adapter.features));
    assert.deepEqual([memory.weightBytes, memory.scratchBytes, memory.kvBytesPerToken], [facts.weightBytes, facts.scratchBytes, facts.kvBytesPerToken]);
    assert.equal(memory.neededBytes, facts.weightBytes + facts.scratchBytes + 256 * facts.kvBytesPerToken);
    assert.equal(memory.mostBytes - memory.neededBytes, (facts.contextLength - 256) * facts.kvBytesPerToken);
    assert.equal(folder.memory.contextLength, 100);
    assert.ok(pro.memory.weightBytes > 3e9 && pro.memory.largestBindingBytes > 90e6);
    assert.equal(missing.code, 'MissingFile');
    assert.match(missing.message, /config\.json/);
    assert.equal(code, 'Aborted');
    assert.equal(server.requests.filter(({ path }) => path.includes('model.safetensors')).length, 0);
  });

  await t.test('a dedicated worker can use the package, too', async () => {
    const text = await page.evaluate(() => new Promise((resolve, reject) => {
      const worker = new Worker('/pages/worker.js', { type: 'module' });
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
    }));
    assert.equal(text, await page.evaluate(async () => (await window.engine.generate('Hello', { maxTokens: 4 }).result).text));
  });

  await t.test('two tabs, fifty requests in flight: nothing is mixed up', async () => {
    const second = await context.newPage();
    await load(second, 'synthetic-tiny', { chunkTokens: 32 });
    const ask = (page, requests) => page.evaluate((requests) => Promise.all(requests.map(async ({ prompt, seed }) => {
      const params = { prompt, seed, max_tokens: 4, ...(seed && { temperature: 1 }) };
      const { choices: [{ text }] } = await window.engine.completions.create(params);
      return text;
    })), requests);
    const requests = Array.from({ length: 25 }, (_, i) => ({ prompt: [i, 2 * i, 500 - i], seed: i % 3 }));
    const [here, there] = await Promise.all([ask(page, requests), ask(second, requests.toReversed())]);
    assert.deepEqual(there.toReversed(), here, 'both tabs say the same');
    assert.ok(new Set(here).size > 10, 'the requests have different answers');
    for (const i of [0, 7, 24]) assert.deepEqual(await ask(page, [requests[i]]), [here[i]], 'as if alone');
    await second.close();
  });
});
