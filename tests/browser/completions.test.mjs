// `chat.completions` and `completions` as the OpenAI client has them: every option does what it says, or is refused.

import { strict as assert } from 'node:assert';

import { load } from './engine.mjs';
import { browserTest } from './harness.mjs';

const TIMEOUT_MS = 600_000;
const MESSAGES = [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Name one JVM language.' }];

browserTest('completions', { timeoutMs: TIMEOUT_MS }, async ({ page }, t) => {
  const facts = await load(page, 'synthetic-tiny');
  await page.evaluate((messages) => {
    window.messages = messages;
    /** A whole answer, and what the same request streams. */
    window.both = async (params) => {
      const { completions } = window.engine.chat;
      const whole = await completions.create(params);
      const chunks = [];
      for await (const chunk of await completions.create({ ...params, stream: true, stream_options: { include_usage: true } })) {
        chunks.push(chunk);
      }
      return { whole, chunks };
    };
  }, MESSAGES);
  const chat = (params, options) => page.evaluate(
    ({ params, options }) => window.engine.chat.completions.create({ messages: window.messages, ...params }, options),
    { params, options },
  );
  const failure = (create, params) => page.evaluate(
    ({ create, params }) => {
      const { engine } = window;
      return window.failure((create === 'chat' ? engine.chat.completions : engine.completions).create(params));
    },
    { create, params },
  );

  await t.test('a whole answer and a streamed one are the same, shaped as OpenAI shapes them', async () => {
    const { whole, chunks } = await page.evaluate(() => window.both({ messages: window.messages, max_tokens: 12, model: 'any' }));
    const native = await page.evaluate(async () => {
      const { tokens, text } = await window.engine.generate(window.messages, { maxTokens: 12 }).result;
      return { tokens: [...tokens], text, prompt: await window.engine.countTokens(window.messages) };
    });
    const [choice] = whole.choices;
    assert.equal(whole.object, 'chat.completion');
    assert.equal(whole.model, 'any');
    assert.deepEqual(choice.message, { role: 'assistant', content: native.text, refusal: null });
    assert.deepEqual([choice.index, choice.finish_reason, choice.logprobs], [0, 'length', null]);
    // Text in parts is the same text.
    const inParts = await chat({
      max_tokens: 12,
      messages: MESSAGES.map(({ role, content }) => ({ role, content: [{ type: 'text', text: content.slice(0, 3) }, { type: 'text', text: content.slice(3) }] })),
    });
    assert.equal(inParts.choices[0].message.content, native.text);
    assert.deepEqual(
      [whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens],
      [native.prompt, 12, native.prompt + 12],
    );
    assert.ok(choice.timings.prefill_ms > 0 && choice.timings.decode_ms > 0 && choice.timings.tokens_per_second > 0);
    assert.equal(choice.memory.weight_bytes, facts.weightBytes);
    assert.ok(choice.memory.kv_bytes >= 256 * facts.kvBytesPerToken && choice.memory.heap_bytes > 0);

    assert.ok(chunks.every(({ id, object }) => object === 'chat.completion.chunk' && id === chunks[0].id));
    assert.deepEqual(chunks[0].choices[0].delta, { role: 'assistant', content: '' });
    const usage = chunks.pop();
    assert.deepEqual(usage.choices, []);
    assert.deepEqual(usage.usage, { ...whole.usage, prompt_tokens_details: { cached_tokens: native.prompt - 1 } });
    assert.ok(chunks.every(({ usage }) => usage === null));
    assert.equal(chunks.map(({ choices: [{ delta }] }) => delta.content ?? '').join(''), native.text);
    assert.deepEqual(chunks.map(({ choices: [{ finish_reason }] }) => finish_reason).filter(Boolean), ['length']);
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'length');

    const lines = await page.evaluate(async () => {
      const stream = await window.engine.completions.create({ prompt: 'Once', max_tokens: 5, stream: true });
      return (await new Response(stream.toReadableStream()).text()).trim().split('\n').map((line) => JSON.parse(line));
    });
    const text = await page.evaluate(() => window.engine.completions.create({ prompt: 'Once', max_tokens: 5 }));
    assert.equal(text.object, 'text_completion');
    assert.equal(lines.map(({ choices: [{ text }] }) => text).join(''), text.choices[0].text);
  });

  await t.test('n answers, each with a seed of its own; several prompts', async () => {
    const params = { temperature: 1.5, seed: -7, n: 5, max_tokens: 8 };
    const { choices, usage } = await chat(params);
    assert.deepEqual(choices.map(({ index }) => index), [0, 1, 2, 3, 4]);
    assert.ok(new Set(choices.map(({ message }) => message.content)).size > 1);
    assert.deepEqual(choices.map(({ seed }) => seed), [-7, -6, -5, -4, -3]);
    const third = await chat({ ...params, n: 1, seed: -5 });
    assert.equal(third.choices[0].message.content, choices[2].message.content);
    assert.equal(usage.completion_tokens, 40);
    const prompts = await page.evaluate(async () => {
      const create = (params) => window.engine.completions.create({ max_tokens: 4, ...params });
      const { choices } = await create({ prompt: ['One', 'Two'], n: 2 });
      const alone = [await create({ prompt: 'One' }), await create({ prompt: 'Two' })];
      return [choices.map(({ text }) => text), alone.map(({ choices: [{ text }] }) => text)];
    });
    assert.deepEqual(prompts[0], [prompts[1][0], prompts[1][0], prompts[1][1], prompts[1][1]]);
  });

  await t.test('log-probabilities are the model’s own', async () => {
    const { choice, score, softmax } = await page.evaluate(async () => {
      const { engine, messages } = window;
      const { choices: [choice] } = await engine.chat.completions.create({
        messages, max_tokens: 6, temperature: 1.3, seed: 5, logprobs: true, top_logprobs: 20, frequency_penalty: 1, logit_bias: { 40: 3 },
      });
      const prompt = await engine.tokenizeChat(messages);
      const { tokens } = await engine.generate(messages, { maxTokens: 6, temperature: 1.3, seed: 5, frequencyPenalty: 1, logitBias: { 40: 3 } }).result;
      const { logprobs } = await engine.score(prompt, tokens);
      // The first token's distribution, from its logits.
      const { logits } = await engine.logits(prompt);
      const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
      const softmax = [...logits].map((logit) => logit - total).sort((a, b) => b - a).slice(0, 20);
      return { choice, score: [...logprobs], softmax };
    });
    const { content } = choice.logprobs;
    assert.equal(content.length, 6);
    content.forEach(({ logprob, token, bytes, top_logprobs: top }, i) => {
      assert.ok(Math.abs(logprob - score[i]) < 1e-3, `token ${i}: ${logprob}, scored ${score[i]}`);
      const text = new TextDecoder().decode(Uint8Array.from(bytes));
      assert.ok(token === text || (text.includes('\ufffd') && token.startsWith('bytes:\\x')), token);
      assert.equal(top.length, 20);
      assert.ok(top.every((other, j) => j === 0 || other.logprob <= top[j - 1].logprob));
      const sum = top.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0);
      assert.ok(sum > 0 && sum <= 1 + 1e-5);
    });
    content[0].top_logprobs.forEach(({ logprob }, i) => assert.ok(Math.abs(logprob - softmax[i]) < 1e-3));
    const bytes = content.flatMap(({ bytes }) => bytes);
    assert.equal(new TextDecoder().decode(Uint8Array.from(bytes)), choice.message.content);

    const text = await page.evaluate(() => window.engine.completions.create({ prompt: 'Once', max_tokens: 5, logprobs: 2 }));
    const { tokens, token_logprobs, top_logprobs, text_offset } = text.choices[0].logprobs;
    assert.deepEqual([tokens.length, token_logprobs.length, top_logprobs.length, text_offset[0]], [5, 5, 5, 0]);
    assert.ok(top_logprobs.every((top, i) => Object.keys(top).length === 2 && Math.abs(top[tokens[i]] - token_logprobs[i]) < 1e-6));
  });

  await t.test('a token’s offset is where it begins, however much is held back for stop strings', async () => {
    const { tokens, text, answers } = await page.evaluate(async () => {
      const { engine } = window;
      // Begins with a special token: that is no text.
      const [special] = await engine.tokenize('', { addSpecialTokens: true });
      const settings = { temperature: 1.5, seed: 4 };
      const stream = engine.generate('Once', { ...settings, maxTokens: 60, logitBias: { [special]: 100 }, frequencyPenalty: 100 });
      const tokens = [];
      for await (const { id, text } of stream.tokens()) tokens.push({ special: id === special, text });
      const { text } = await stream.result;
      const answers = [];
      const params = { prompt: 'Once', ...settings, max_tokens: 60, logit_bias: { [special]: 100 }, frequency_penalty: 100, logprobs: 0 };
      const never = text.match(/.{20}/gsu).map((part) => `${part}\0`);
      for (const stop of [[], never, text.slice(20, 26)]) {
        const whole = await engine.completions.create({ ...params, stop });
        const streamed = { offsets: [], late: 0 };
        for await (const { choices: [{ text, logprobs }] } of await engine.completions.create({ ...params, stop, stream: true })) {
          streamed.offsets.push(...(logprobs?.text_offset ?? []));
          if (logprobs && !text) streamed.late += 1;
        }
        answers.push({ text: whole.choices[0].text, offsets: whole.choices[0].logprobs.text_offset, streamed });
      }
      return { tokens, text, answers };
    });
    // Without stop strings, text comes with its token.
    let length = 0;
    const expected = tokens.map(({ text }) => (length += text.length) - text.length);
    assert.deepEqual(tokens[0], { special: true, text: '' });
    const [plain, never, met] = answers;
    assert.deepEqual([plain.text, never.text, met.text], [text, text, text.slice(0, text.indexOf(text.slice(20, 26)))]);
    assert.ok(never.streamed.late > plain.streamed.late + 10, 'text was held back');
    for (const { offsets, streamed } of answers) {
      assert.deepEqual(offsets, expected.slice(0, offsets.length));
      assert.deepEqual(streamed.offsets, offsets);
    }
    assert.deepEqual([plain, never].map(({ offsets }) => offsets.length), [tokens.length, tokens.length]);
    assert.ok(met.offsets.at(-1) > met.text.length - 1 && met.offsets.length < tokens.length);
  });

  await t.test('penalties and bias choose what a computation on the CPU chooses', async () => {
    for (const options of [
      { frequencyPenalty: 1.5, presencePenalty: 0.7 },
      { repetitionPenalty: 1.8 },
      { repetitionPenalty: 0.6, frequencyPenalty: -0.5, logitBias: { 100: 4, 200: -100, 7: 2.5 } },
    ]) {
      const { found, expected, plain } = await page.evaluate(async (options) => {
        const { frequencyPenalty = 0, presencePenalty = 0, repetitionPenalty = 1, logitBias = {} } = options;
        const { engine } = window;
        const prompt = [3, 141, 59, 26];
        const expected = [];
        for (let i = 0; i < 10; i++) {
          const { logits } = await engine.logits([...prompt, ...expected]);
          const moved = [...logits].map((logit, id) => {
            const times = expected.filter((other) => other === id).length;
            if (times > 0 || prompt.includes(id)) logit = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
            return logit - frequencyPenalty * times - (times > 0 ? presencePenalty : 0) + (logitBias[id] ?? 0);
          });
          expected.push(moved.indexOf(Math.max(...moved)));
        }
        const tokens = async (options) => [...(await engine.generate(prompt, { maxTokens: 10, ...options }).result).tokens];
        return { found: await tokens(options), expected, plain: await tokens({}) };
      }, options);
      assert.deepEqual(found, expected, JSON.stringify(options));
      assert.notDeepEqual(found, plain, `${JSON.stringify(options)} change something`);
    }
  });

  await t.test('a character split over tokens is streamed whole', async () => {
    // Its bytes' tokens, forced in their order again and again: each time one is taken, the penalty puts it last.
    const pieces = await page.evaluate(async () => {
      const ids = [...(await window.engine.tokenize('🦙'))];
      const logit_bias = Object.fromEntries(ids.map((id, i) => [id, 1000 - 30 * i]));
      const pieces = [];
      const params = { prompt: 'A llama:', max_tokens: 3 * ids.length + 1, logit_bias, frequency_penalty: 100, stream: true };
      for await (const { choices: [{ text }] } of await window.engine.completions.create(params)) if (text) pieces.push(text);
      return { pieces, count: ids.length };
    });
    assert.ok(pieces.count > 1, 'it is split');
    assert.deepEqual(pieces.pieces, ['🦙', '🦙', '🦙', '\ufffd'], 'the last never became whole');
  });

  await t.test('stop strings, limits, seeds, filters', async () => {
    const { message: { content: whole } } = (await chat({ max_tokens: 30 })).choices[0];
    const stop = whole.slice(7, 11);
    const cut = (await chat({ max_completion_tokens: 30, stop: ['never there', stop] })).choices[0];
    assert.deepEqual([cut.message.content, cut.finish_reason], [whole.slice(0, whole.indexOf(stop)), 'stop']);
    const hot = { temperature: 1.2, max_tokens: 8, seed: 2 ** 40 + 1 };
    const text = async (params) => (await chat(params)).choices[0].message.content;
    const one = await text(hot);
    assert.equal(await text(hot), one);
    assert.notEqual(await text({ ...hot, seed: 1 }), one, 'the high word of a seed counts');
    for (const greedy of [{ top_k: 1 }, { top_p: 1e-6 }, { min_p: 1 }, { temperature: 0 }]) {
      assert.equal(await text({ ...hot, ...greedy }), whole.slice(0, (await text({ max_tokens: 8 })).length), JSON.stringify(greedy));
    }
  });

  await t.test('the experts of each token are those that scoring the text takes', async () => {
    const { routing, trace } = await page.evaluate(async () => {
      const { engine, messages } = window;
      const { choices: [{ routing }] } = await engine.chat.completions.create({ messages, max_tokens: 5, routing: true });
      const prompt = await engine.tokenizeChat(messages);
      const { tokens } = await engine.generate(messages, { maxTokens: 5 }).result;
      const ids = [...prompt, ...tokens.slice(0, -1)];
      const { experts, weights } = await engine.logits(ids);
      return {
        routing: routing.map(({ experts, weights }) => ({ experts: [...experts], weights: [...weights] })),
        trace: { experts: [...experts], weights: [...weights], positions: ids.length, first: prompt.length - 1 },
      };
    });
    const { layers, expertsPerToken: k } = facts;
    routing.forEach(({ experts, weights }, i) => {
      assert.equal(experts.length, layers * k);
      for (let layer = 0; layer < layers; layer++) {
        const at = (layer * trace.positions + trace.first + i) * k;
        assert.deepEqual(experts.slice(layer * k, (layer + 1) * k), trace.experts.slice(at, at + k), `token ${i}, layer ${layer}`);
        weights.slice(layer * k, (layer + 1) * k).forEach((weight, j) => assert.ok(Math.abs(weight - trace.weights[at + j]) < 1e-3));
      }
    });
  });

  await t.test('an abort ends a stream within one token, and rejects a call that does not stream', async () => {
    const { tokens, tokensWhenHeard, ended, name, timeout, left, waited } = await page.evaluate(async () => {
      const { engine, messages, failure } = window;
      const params = { messages, max_tokens: 4000 };
      const stream = await engine.chat.completions.create({ ...params, stream: true, logprobs: true });
      let tokens = 0;
      let tokensWhenHeard;
      let ended = false;
      for await (const { choices: [{ logprobs, finish_reason }] } of stream) {
        ended ||= finish_reason !== null;
        if (!logprobs || ++tokens !== 3) continue;
        stream.controller.abort();
        // What is asked after the abort is answered after it was heard.
        void engine.tokenize('').then(() => (tokensWhenHeard = tokens));
      }
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 50);
      const { code, name } = await failure(engine.chat.completions.create(params, { signal: controller.signal }));
      const timeout = (await failure(engine.chat.completions.create(params, { signal: AbortSignal.timeout(50) }))).name;
      const left = await failure((async () => {
        const leaving = new AbortController();
        const reason = new Error('the user left');
        for await (const chunk of await engine.chat.completions.create({ ...params, stream: true }, { signal: leaving.signal })) {
          if (chunk.choices[0].delta.content) leaving.abort(reason);
        }
      })());
      // Streams that are left before their first chunk leave no queue behind, of whatever kind.
      const streams = await Promise.all([1, 2, 3, 4].map(() => engine.chat.completions.create({ ...params, stream: true })));
      for (const stream of streams) await stream[Symbol.asyncIterator]().return();
      const generations = [1, 2, 3, 4].map(() => engine.generate(messages));
      for (const generation of generations) await generation.tokens().return();
      const { choices: [{ timings }] } = await engine.chat.completions.create({ messages, max_tokens: 2 });
      const reasons = await Promise.all(generations.map(async ({ result }) => (await result).finishReason));
      return { tokens, tokensWhenHeard, ended, name: [code, name], timeout, left: left.message, waited: { ...timings, reasons } };
    });
    assert.ok(tokens <= tokensWhenHeard + 1, `${tokens} tokens, ${tokensWhenHeard} when the abort was heard`);
    assert.ok(tokens < 1000, `${tokens} tokens, aborted at the third`);
    assert.equal(ended, false);
    assert.deepEqual(name, ['Aborted', 'AbortError']);
    assert.deepEqual([timeout, left], ['TimeoutError', 'the user left']);
    assert.deepEqual(waited.reasons, Array(4).fill('abort'));
    assert.ok(waited.queued_ms < 2000, `waited ${waited.queued_ms} ms`);
  });

  await t.test('what cannot be done is refused by name', async () => {
    const messages = MESSAGES;
    const refused = [
      ['chat', { messages, tools: [{ type: 'function' }] }, 'Unsupported', /tools.*not trained/],
      ['chat', { messages, audio: {} }, 'Unsupported', /audio/],
      ['chat', { messages, reasoning_effort: 'high' }, 'Unsupported', /reasoning_effort/],
      ['chat', { messages, topk: 3 }, 'Unsupported', /topk/],
      ['chat', { messages, n: 0 }, 'BadOptions', /n is 0/],
      ['chat', { messages, top_logprobs: 3 }, 'BadOptions', /logprobs: true/],
      ['chat', { messages, logprobs: true, top_logprobs: 21 }, 'Option', /top_logprobs is 21/],
      ['chat', { messages, max_tokens: 3, max_completion_tokens: 4 }, 'BadOptions', /3.*4/],
      ['chat', { messages, stream_options: { include_usage: true } }, 'BadOptions', /stream: true/],
      ['chat', { messages, seed: 0.5 }, 'Option', /seed is 0.5/],
      ['chat', { messages, repetition_penalty: 0 }, 'Option', /repetition_penalty is 0/],
      ['chat', { messages, frequency_penalty: 101, stream: true }, 'Option', /frequency_penalty is 101/],
      ['chat', { messages, logit_bias: { 512: 1 } }, 'Option', /logit_bias.*512/],
      ['chat', { messages, stop: '' }, 'EmptyStopString', /stop\[0\]/],
      ['chat', { messages: [{ role: 'tool', content: 'x' }] }, 'Unsupported', /messages\[0\]\.role "tool"/],
      ['chat', { messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }, 'Unsupported', /image_url/],
      ['chat', { prompt: 'x' }, 'BadOptions', /messages/],
      ['text', { prompt: 'x', best_of: 2 }, 'Unsupported', /best_of/],
      ['text', { prompt: 'x', echo: true }, 'Unsupported', /echo/],
      ['text', { prompt: [] }, 'BadOptions', /empty/],
    ];
    for (const [create, params, code, message] of refused) {
      const error = await failure(create, params);
      assert.equal(error.code, code, `${JSON.stringify(params)}: ${error.message}`);
      assert.match(error.message, message);
    }
    // What asks for nothing else, or only says who asks, is taken.
    const harmless = { user: 'me', tools: [], tool_choice: 'none', modalities: ['text'], store: false, n: 1, response_format: { type: 'text' } };
    assert.equal((await chat({ ...harmless, max_tokens: 1 })).usage.completion_tokens, 1);
  });
});
