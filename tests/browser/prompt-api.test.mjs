// The browser's Prompt API on the engine; and the engine stopped, unloaded, and loaded with another model.

import { strict as assert } from 'node:assert';

import { load, SOFTWARE } from './engine.mjs';
import { browserTest } from './harness.mjs';

const TIMEOUT_MS = 600_000;

browserTest('the Prompt API, and an engine that changes its model', { timeoutMs: TIMEOUT_MS }, async ({ page }, t) => {
  await load(page, 'synthetic-tiny', { contextLength: 256 });
  await page.evaluate(async (variant) => {
    const { languageModel } = await import('/pkg/dist/prompt-api.js');
    window.api = languageModel(window.engine);
    window.languageModel = languageModel;
    window.variant = variant;
    /** The name, code and param that a promise rejects with. */
    window.refused = (promise) => promise.then(() => 'resolved', (error) => [error.name, error.code, error.param]);
  }, SOFTWARE);

  await t.test('a conversation is what the engine makes of its messages', async () => {
    const { text, expected, pieces, usage, measured, counted, clone, append } = await page.evaluate(async () => {
      const { api, engine } = window;
      // Short answers: the end of the context would be far.
      const options = { responseConstraint: /[a-c]{5}/ };
      const format = { responseFormat: { type: 'regex', regex: '[a-c]{5}' } };
      const system = { role: 'system', content: 'Be brief.' };
      const session = await api.create({ initialPrompts: [system] });
      const measured = await session.measureContextUsage('Hello');
      const before = session.contextUsage;
      const text = await session.prompt('Hello', options);
      const messages = [system, { role: 'user', content: 'Hello' }];
      const expected = (await engine.generate(messages, format).result).text;
      messages.push({ role: 'assistant', content: text });
      const counted = [await engine.tokenizeChat(messages, { addGenerationPrompt: false }), await engine.tokenizeChat(messages.slice(0, 2), { addGenerationPrompt: false })].map(({ length }) => length);
      const usage = [session.contextUsage, session.inputUsage, session.contextWindow, session.inputQuota];
      const clone = await session.clone();
      // Said to one of them only.
      const pieces = [];
      for await (const piece of session.promptStreaming([{ role: 'user', content: [{ type: 'text', value: 'Why?' }] }, { role: 'assistant', content: 'ab', prefix: true }], options)) pieces.push(piece);
      const cloned = await clone.prompt('Why?', options);
      const why = [...messages, { role: 'user', content: 'Why?' }];
      const begun = [...(await engine.tokenizeChat(why)), ...(await engine.tokenize('ab'))];
      const continued = (await engine.generate(begun, format).result).text;
      const alone = (await engine.generate(why, format).result).text;
      await clone.append('One');
      const grown = clone.contextUsage;
      const appended = (await engine.tokenizeChat([...why, { role: 'assistant', content: cloned }, { role: 'user', content: 'One' }], { addGenerationPrompt: false })).length;
      session.destroy();
      return {
        text, expected, usage, measured: [measured, counted[1] - before], counted: counted[0],
        pieces: [pieces.join(''), continued], clone: [cloned, alone], append: [grown, appended],
      };
    });
    assert.match(text, /^[a-c]{5}$/);
    assert.equal(text, expected);
    assert.deepEqual(usage, [counted, counted, 256, 256]);
    for (const [found, wanted] of [pieces, measured, clone, append]) assert.equal(found, wanted);
  });

  await t.test('a context that is full forgets its oldest turns; one prompt that is too long is refused', async () => {
    const { events, usage, first, tooLong } = await page.evaluate(async () => {
      const session = await window.api.create({ initialPrompts: [{ role: 'system', content: 'Be brief.' }] });
      const events = [];
      session.oncontextoverflow = ({ type }) => events.push(type);
      session.addEventListener('quotaoverflow', ({ type }) => events.push(type));
      const first = session.contextUsage;
      const long = 'a1 '.repeat(25);
      while (events.length === 0) {
        await session.append(long);
        await session.append([{ role: 'assistant', content: 'b' }]);
      }
      const tooLong = await session.prompt('a1 '.repeat(400)).catch(({ name, code, requested, quota }) => ({ name, code, more: requested > quota }));
      return { events, usage: session.contextUsage, first, tooLong };
    });
    assert.deepEqual(events, ['contextoverflow', 'quotaoverflow']);
    assert.ok(usage > first && usage < 256, `${usage}`);
    assert.deepEqual(tooLong, { name: 'QuotaExceededError', code: 'PromptTooLong', more: true });
  });

  await t.test('what cannot be is refused; aborts reject with their reason; what is destroyed says so', async () => {
    const found = await page.evaluate(async () => {
      const { api, refused, languageModel } = window;
      const session = await api.create({ samplingMode: 'balanced' });
      const controller = new AbortController();
      const owner = new AbortController();
      const owned = await api.create({ signal: owner.signal });
      owner.abort();
      const running = refused(session.prompt('Hello', { signal: controller.signal }));
      setTimeout(() => controller.abort(new RangeError('enough')), 100);
      const found = {
        options: await Promise.all([
          refused(api.create(5)), refused(api.create({ samplingMode: 'wild' })), refused(api.create({ samplingMode: 'balanced', topK: 1 })), refused(api.create({ tools: [{}] })),
          refused(api.create({ expectedInputs: [{ type: 'image' }] })), refused(api.create({ initialPrompts: [null] })), refused(api.create({ initialPrompts: [{ role: 'user', content: 'x' }, { role: 'system', content: 'x' }] })),
          refused(api.create({ signal: AbortSignal.abort(new RangeError('early')) })),
        ]),
        availability: await Promise.all([api.availability(), api.availability({ expectedOutputs: [{ type: 'audio' }] }), languageModel('synthetic-tiny').availability(), languageModel('synthetic-none').availability()]),
        running: await running,
        usage: session.contextUsage,
        prompts: await Promise.all([
          refused(session.prompt(null)), refused(session.prompt([{ role: 'user', content: [{ type: 'image', value: 1 }] }])), refused(session.prompt('x', { responseConstraint: 5 })),
          refused(session.prompt('x', { responseConstraint: { not: {} } })), refused(session.append('x', { more: 1 })), refused(session.measureContextUsage(7)),
        ]),
        owned: await refused(owned.prompt('x')),
      };
      const ending = refused(session.prompt('Hello'));
      setTimeout(() => session.destroy(), 50);
      found.destroyed = [await ending, await refused(session.prompt('x')), await refused(session.clone())];
      // Loaded when it is first wanted, with news of it.
      const own = languageModel('synthetic-tiny', { contextLength: 256, variant: window.variant });
      const progress = [];
      const created = own.create({ monitor: (monitor) => monitor.addEventListener('downloadprogress', ({ loaded }) => progress.push(loaded)) });
      const meanwhile = await own.availability();
      const answer = await (await created).prompt('Hi', { responseConstraint: { enum: ['one'] } });
      return { ...found, lazy: [meanwhile, await own.availability(), answer], progress };
    });
    assert.deepEqual(found.options, [
      ['MobileMoEError', 'BadOptions', 'options'], ['MobileMoEError', 'BadOptions', 'samplingMode'], ['MobileMoEError', 'BadOptions', 'samplingMode'], ['NotSupportedError', 'Unsupported', 'tools'],
      ['NotSupportedError', 'Unsupported', 'expectedInputs[0].type'], ['MobileMoEError', 'BadOptions', 'initialPrompts[0]'], ['MobileMoEError', 'BadOptions', 'initialPrompts[1].role'],
      ['RangeError', undefined, undefined],
    ]);
    assert.deepEqual(found.availability, ['available', 'unavailable', 'downloadable', 'unavailable']);
    assert.deepEqual([found.running, found.usage], [['RangeError', undefined, undefined], 0]);
    assert.deepEqual(found.prompts, [
      ['MobileMoEError', 'BadOptions', 'input'], ['NotSupportedError', 'Unsupported', 'input[0].content[0].type'], ['MobileMoEError', 'BadOptions', 'responseConstraint'],
      ['NotSupportedError', 'BadConstraint', null], ['MobileMoEError', 'BadOptions', 'more'], ['MobileMoEError', 'BadOptions', 'input'],
    ]);
    for (const refused of [found.owned, ...found.destroyed]) assert.deepEqual(refused.slice(0, 2), ['InvalidStateError', 'Disposed']);
    assert.deepEqual(found.lazy, ['downloading', 'available', '"one"']);
    assert.ok(found.progress.at(-1) === 1 && found.progress.every((loaded) => loaded >= 0 && loaded <= 1), `${found.progress}`);
  });

  await t.test('interrupt() stops all that runs or waits; a stream that nobody reads stands still', async () => {
    const { codes, reasons, after, read, unread } = await page.evaluate(async () => {
      const { engine, failure } = window;
      const messages = [{ role: 'user', content: 'Hello' }];
      const create = () => engine.chat.completions.create({ messages, logit_bias: { 100: 1000 } });
      // More than run at once; one of a kind each beside them.
      const waiting = Array.from({ length: 6 }, () => failure(create()));
      const streams = [engine.generate(messages), engine.generate('x')].map(({ result }) => result);
      const score = failure(engine.score([1], new Uint32Array(200).fill(7)));
      await engine.tokenize('x');
      engine.interrupt();
      const codes = (await Promise.all([...waiting, score])).map(({ code }) => code);
      const reasons = (await Promise.all(streams)).map(({ finishReason }) => finishReason);
      const after = (await engine.generate(messages, { maxTokens: 3 }).result).tokens.length;
      // As many as may run at once, each read once and then left standing: a token each time, as none ends by itself.
      const stalled = [1, 2, 3, 4].map(() => engine.generate('x', { logitBias: { 100: 1000 } }));
      for (const stream of stalled) await stream.tokens().next();
      await new Promise((resolve) => setTimeout(resolve, 500));
      const read = (await engine.generate(messages, { maxTokens: 3 }).result).tokens.length;
      for (const stream of stalled) stream.abort();
      const unread = await Promise.all(stalled.map(async ({ result }) => (await result).tokens.length));
      return { codes, reasons, after, read, unread };
    });
    assert.deepEqual(codes, Array(7).fill('Aborted'));
    assert.deepEqual([reasons, after, read], [['abort', 'abort'], 3, 3]);
    assert.ok(unread.every((tokens) => tokens <= 160), `${unread}`);
  });

  await t.test('a schema beside json_object and a GBNF grammar are held to', async () => {
    const answers = await page.evaluate(async () => {
      const ask = async (response_format) => {
        const { choices } = await window.engine.chat.completions.create({ messages: [{ role: 'user', content: 'x' }], temperature: 2, seed: 1, response_format });
        return choices[0].message.content;
      };
      const schema = { type: 'object', properties: { a: { type: 'boolean' } }, required: ['a'], additionalProperties: false };
      return [await ask({ type: 'json_object', schema }), await ask({ type: 'json_object', schema: JSON.stringify(schema) }), await ask({ type: 'grammar', grammar: 'root ::= "<" [0-9]{3} ">"' })];
    });
    for (const answer of answers.slice(0, 2)) assert.equal(typeof JSON.parse(answer).a, 'boolean', answer);
    assert.match(answers[2], /^<\d{3}>$/);
  });

  await t.test('whatever a call is given, only errors of the package leave it, in the caller’s words', async () => {
    const wrong = await page.evaluate(async () => {
      const { engine, api } = window;
      const { MobileMoEError } = await import('/pkg/dist/index.js');
      const session = await engine.createSession();
      const cyclic = {};
      cyclic.self = cyclic;
      const throwing = { get role() { throw new SyntaxError('mine'); } };
      const junk = [undefined, null, true, 0, -1, 1.5, NaN, 1e300, 10n, '', 'x', Symbol('s'), () => {}, {}, [], [null], [{}], [[]], ['x', 5], [1, -1], [NaN], cyclic, [cyclic], throwing, [throwing],
        new Map(), new Proxy([], {}), Object.create(null), { length: -1 }, { length: 1e15 }, { length: 'x' }, new Float32Array([0.5]), [{ role: 'user', content: {} }], [{ role: 'user', content: [{ type: 'text', text: 5 }] }]];
      const names = ['addSpecialTokens', 'skipSpecialTokens', 'addGenerationPrompt', 'allPositions', 'signal', 'maxTokens', 'temperature', 'topK', 'seed', 'stop', 'logprobs', 'logitBias', 'responseFormat', 'routing', 'onPrompt', 'prompts', 'repeats', 'streams', 'budgetMs', 'onProgress', 'responseConstraint', 'what'];
      const short = { maxTokens: 1 };
      const calls = {
        generate: (value) => engine.generate(value, short).result,
        generateOptions: (value) => engine.generate([1], value ? Object.create(Object.prototype, { maxTokens: { value: 1, enumerable: true, writable: true }, ...Object.getOwnPropertyDescriptors(value) }) : short).result,
        session: (value) => session.generate(value, short).result,
        tokenize: (value) => engine.tokenize(value), tokenizeOptions: (value) => engine.tokenize('x', value),
        detokenize: (value) => engine.detokenize(value), detokenizeOptions: (value) => engine.detokenize([1], value),
        countTokens: (value) => engine.countTokens(value), applyChatTemplate: (value) => engine.applyChatTemplate(value), tokenizeChat: (value) => engine.tokenizeChat(value),
        templateOptions: (value) => engine.tokenizeChat([{ role: 'user', content: 'x' }], value),
        logits: (value) => engine.logits(value), logitsOptions: (value) => engine.logits([1], value),
        score: (value) => engine.score(value, [1]), continuation: (value) => engine.score([1], value), scoreOptions: (value) => engine.score([1], [2], value),
        chat: (value) => engine.chat.completions.create({ messages: value, max_tokens: 1 }), params: (value) => engine.chat.completions.create(value),
        chatOptions: (value) => engine.chat.completions.create({ messages: [{ role: 'user', content: 'x' }], max_tokens: 1 }, value),
        completions: (value) => engine.completions.create({ prompt: value, max_tokens: 1 }),
        stream: (value) => engine.chat.completions.stream({ messages: value, max_tokens: 1 }).done(),
        parse: (value) => engine.chat.completions.parse({ messages: value, max_tokens: 1 }),
        benchmark: (value) => engine.benchmark(value),
        create: (value) => api.create(value).then((session) => session.destroy()), prompts: (value) => api.create({ initialPrompts: value }).then((session) => session.destroy()),
        load: (value) => engine.constructor.canRun(value), loadOptions: (value) => engine.constructor.canRun('synthetic-tiny', value),
      };
      const wrong = [];
      let refused = 0;
      for (const [name, call] of Object.entries(calls)) {
        const options = (values) => names.flatMap((name) => values.map((value) => ({ [name]: value })));
        const values = name === 'benchmark' ? options([Symbol('s')]) : /Options|^create$/.test(name) ? [...junk, ...options(['x', -1, {}, null])] : junk;
        for (const [i, value] of values.entries()) {
          // What is taken by default, at length: a load of the pocket model, a benchmark, an answer without limit.
          if ((name === 'load' && value === undefined) || (name === 'params' && i > 1 && value?.messages)) continue;
          try {
            await call(value);
          } catch (error) {
            refused += 1;
            const text = `${error?.message}`;
            if (!(error instanceof MobileMoEError) || /invalid (type|value|length)|expected (u|f|usize|struct|a sequence)\d*|undefined \(reading|is not (a function|iterable)|Cannot (read|destructure)/.test(text)) wrong.push(`${name}(${i}): ${error?.name}: ${text}`);
          }
        }
      }
      return { wrong, refused };
    });
    assert.deepEqual(wrong.wrong, []);
    assert.ok(wrong.refused > 500, `${wrong.refused} refused`);
  });

  await t.test('unload() frees the model, reload() loads another into the same object', async () => {
    const { codes, facts, prints, answer, overtaken, disposed } = await page.evaluate(async () => {
      const { engine, failure } = window;
      const messages = [{ role: 'user', content: 'Hello' }];
      const print = async () => (await engine.chat.completions.create({ messages, max_tokens: 1 })).system_fingerprint;
      const prints = [await print(), await print()];
      const session = await engine.createSession();
      const running = failure(engine.generate(messages).result);
      engine.unload();
      const codes = [(await running).code, (await failure(engine.chat.completions.create({ messages }))).code, (await failure(session.generate('x').result)).code];
      codes.push((await failure(engine.reload('synthetic-none'))).code, (await failure(engine.countTokens('x'))).code);
      const overtaken = failure(engine.reload('synthetic-tiny', { variant: window.variant }));
      await engine.reload('/fixtures/tiny-a/', { contextLength: 128, variant: window.variant });
      const facts = [engine.facts.contextLength, engine.facts.layers];
      const { model } = await engine.completions.create({ prompt: [1, 2], max_tokens: 3 });
      const answer = [model, (await engine.models.list()).data[0].id].join();
      prints.push((await engine.completions.create({ prompt: [1, 2], max_tokens: 1 })).system_fingerprint);
      engine.dispose();
      return { codes, facts, prints, answer, overtaken: (await overtaken).code, disposed: (await failure(engine.reload())).code };
    });
    assert.deepEqual(codes, ['NotLoaded', 'NotLoaded', 'NotLoaded', 'BadOptions', 'NotLoaded']);
    assert.deepEqual([facts[0], answer, overtaken, disposed], [128, 'tiny-a,tiny-a', 'Aborted', 'Disposed']);
    assert.match(prints[0], /^fp_[0-9a-f]{8}$/);
    assert.ok(prints[0] === prints[1] && prints[2] !== prints[0], `${prints}`);
  });
});
