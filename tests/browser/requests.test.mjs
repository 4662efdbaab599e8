// Requests as people send them, without a browser: what is asked of the engine, what is refused in which words, and how streams end.

import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { ChatCompletionStream as TheirStream } from 'openai/lib/ChatCompletionStream';
import { makeParseableResponseFormat } from 'openai/lib/parser';

import { ChatCompletions, Completions } from '../../pkg/dist/completions.js';
import { MobileMoEError } from '../../pkg/dist/errors.js';
import { startGenerate } from '../../pkg/dist/session.js';

const MESSAGES = [{ role: 'user', content: 'Hello' }];
const GENERATION = {
  text: 'ab', finishReason: 'length', tokens: Uint32Array.of(1, 2), promptTokens: 3, cachedTokens: 0, seed: 1, queuedMs: 0, firstTokenMs: 1,
  prefillMs: 1, decodeMs: 1, tokensPerSecond: 1, memory: { weightBytes: 1, scratchBytes: 1, kvBytes: 1, heapBytes: 1 },
};

/** A connection that answers each choice with "ab", unless `answer` does it. `requests`: what was asked. */
function scripted(answer) {
  const requests = [];
  async function whole([{ choices, options }], onEvent) {
    for (let choice = 0; choice < choices; choice++) {
      onEvent({ choice, begun: true }, () => {});
      for (const [id, text] of ['a', 'b'].entries()) {
        onEvent({ choice, token: { id, text, ...(options.topLogprobs !== undefined && { logprob: 0, bytes: Uint8Array.of(97 + id), top: [] }), ...(options.routing && { experts: new Uint32Array(), weights: new Float32Array() }) } }, () => {});
      }
    }
    return Array(choices).fill(GENERATION);
  }
  const connection = {
    async call(method, args, { onEvent, signal } = {}) {
      requests.push(args[0]);
      return answer ? answer(args, onEvent, signal) : whole(args, onEvent);
    },
  };
  const served = { connection, model: 'pocket', fingerprint: 'fp_1' };
  return {
    requests,
    chat: new ChatCompletions(() => served),
    text: new Completions(() => served),
    generate: (prompt, options) => startGenerate(connection, undefined, prompt, options),
  };
}

/** All that an iterable gives. */
async function all(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

/** What a promise rejects with, which has to be an error of the package's. */
async function refusal(promise) {
  const error = await promise.then(() => assert.fail('expected a refusal'), (error) => error);
  assert.ok(error instanceof MobileMoEError, `${error?.stack}`);
  return error;
}

test('what asks for nothing is taken', async () => {
  const { chat, text, requests } = scripted();
  for (const harmless of [
    { user: 'me', metadata: { a: 'b' }, store: false, service_tier: 'auto', safety_identifier: 'x', prompt_cache_key: 'x', prompt_cache_retention: '24h' },
    { tools: [], functions: [], tool_choice: 'auto', function_call: 'none', parallel_tool_calls: true, modalities: ['text'] },
    { reasoning_effort: 'none', verbosity: 'medium', audio: null, prediction: null, web_search_options: null, top_logprobs: 0 },
    { stream_options: {}, response_format: { type: 'text' }, n: 1, max_tokens: -1, logit_bias: {}, stop: [] },
    { messages: [...MESSAGES, { role: 'assistant', content: 'Hi', refusal: null, annotations: [], tool_calls: [], audio: null, function_call: null, id: 'x' }, { role: 'user', name: 'me', content: [{ type: 'text', text: 'Hello', annotations: [] }] }] },
  ]) {
    const completion = await chat.create({ model: 'any', messages: MESSAGES, ...harmless });
    assert.equal(completion.choices[0].message.content, 'ab');
    assert.equal(completion.system_fingerprint, 'fp_1');
    assert.deepEqual(requests.at(-1).options, 'stop' in harmless ? { stop: [], logitBias: [] } : {}, 'nothing is asked of the engine');
  }
  const stream = await chat.create({ messages: MESSAGES, stream: true, stream_options: { include_usage: true, include_obfuscation: false } }, { headers: {}, maxRetries: 2, signal: null });
  const chunks = await all(stream);
  assert.equal(chunks.at(-1).usage.completion_tokens, 2);
  assert.ok(chunks.every(({ system_fingerprint }) => system_fingerprint === 'fp_1'));
  await text.create({ prompt: 'x', best_of: 1, echo: false, suffix: '', max_tokens: -1 });
  assert.equal(requests.at(-1).options.maxTokens, undefined);
});

test('what cannot be done is refused by the option’s own name, as OpenAI’s errors have it', async () => {
  const { chat, text, generate, requests } = scripted();
  const cyclic = {};
  cyclic.self = cyclic;
  const refused = [
    ['params', undefined], ['params', null], ['params', 'x'], ['messages', {}], ['messages', { messages: [] }], ['messages', { messages: 'x' }],
    ['messages[0]', { messages: [null] }], ['messages[1]', { messages: [...MESSAGES, 5] }], ['messages[0].role', { messages: [{ content: 'x' }] }],
    ['messages[0].role', { messages: [{ role: 'wizard', content: 'x' }] }], ['messages[0].content', { messages: [{ role: 'user' }] }],
    ['messages[0].content', { messages: [{ role: 'user', content: [] }] }], ['messages[0].content[0]', { messages: [{ role: 'user', content: [null] }] }],
    ['messages[0].content[0].text', { messages: [{ role: 'user', content: [{ type: 'text' }] }] }],
    ['messages[0].content[0].type', { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] }],
    ['messages[0].toString', { messages: [{ role: 'user', content: 'x', toString() {} }] }],
    ['messages[0].annotations', { messages: [{ role: 'assistant', content: 'x', annotations: [{}] }] }],
    ['stream', { messages: MESSAGES, stream: 'true' }], ['n', { messages: MESSAGES, n: 1.5 }], ['model', { messages: MESSAGES, model: 5 }],
    ...[-2, 1.5, '5', NaN].map((max_tokens) => ['max_tokens', { messages: MESSAGES, max_tokens }]),
    ['max_completion_tokens', { messages: MESSAGES, max_completion_tokens: 'many' }],
    ['temperature', { messages: MESSAGES, temperature: '0.7' }], ['temperature', { messages: MESSAGES, temperature: 101 }], ['top_k', { messages: MESSAGES, top_k: -1 }],
    ['top_p', { messages: MESSAGES, top_p: 0 }], ['min_p', { messages: MESSAGES, min_p: 2 }], ['logit_bias', { messages: MESSAGES, logit_bias: { hello: 1 } }],
    ['logit_bias[5]', { messages: MESSAGES, logit_bias: { 5: '1' } }], ['frequency_penalty', { messages: MESSAGES, frequency_penalty: -101 }],
    ['repetition_penalty', { messages: MESSAGES, repetition_penalty: 0 }], ['seed', { messages: MESSAGES, seed: 0.5 }], ['stop', { messages: MESSAGES, stop: 5 }],
    ['stop[1]', { messages: MESSAGES, stop: ['a', 5] }], ['logprobs', { messages: MESSAGES, logprobs: 3 }], ['top_logprobs', { messages: MESSAGES, logprobs: true, top_logprobs: 21 }],
    ['stream_options', { messages: MESSAGES, stream: true, stream_options: 5 }], ['stream_options.include_obfuscation', { messages: MESSAGES, stream: true, stream_options: { include_obfuscation: true } }],
    ['verbosity', { messages: MESSAGES, verbosity: 'low' }], ['reasoning_effort', { messages: MESSAGES, reasoning_effort: 'high' }], ['store', { messages: MESSAGES, store: true }],
    ['toString', { messages: MESSAGES, toString() {} }], ['response_format', { messages: MESSAGES, response_format: 'json' }],
    ['response_format.type', { messages: MESSAGES, response_format: {} }], ['response_format.schema', { messages: MESSAGES, response_format: { type: 'json_object', schema: '{' } }],
    ['response_format.json_schema', { messages: MESSAGES, response_format: { type: 'json_schema' } }],
    ['response_format.json_schema.schema', { messages: MESSAGES, response_format: { type: 'json_schema', json_schema: { schema: cyclic } } }],
    ['response_format.schema', { messages: MESSAGES, response_format: { type: 'text', schema: {} } }],
    ['response_format.grammar', { messages: MESSAGES, response_format: { type: 'grammar', grammar: 'root ::= "a' } }],
    ['stop', { messages: MESSAGES, stop: 'x', response_format: { type: 'json_object' } }],
    ...['}', '\n', 'name'].map((stop) => ['stop', { messages: MESSAGES, stop: ['never', stop], response_format: { type: 'json_schema', json_schema: { schema: { properties: { name: {} } } } } }]),
  ];
  for (const [param, params] of refused) {
    const error = await refusal(chat.create(params));
    assert.equal(error.param, param, error.message);
    assert.ok(error.message.includes(param), error.message);
    assert.deepEqual([error.status, error.type], [400, 'invalid_request_error']);
  }
  for (const [param, options] of [['maxTokens', { maxTokens: 1.5 }], ['topK', { topK: -1 }], ['topP', { topP: '1' }], ['logitBias', { logitBias: { x: 1 } }], ['signal', { signal: 'x' }], ['onPrompt', { onPrompt: 1 }], ['top_p', { top_p: 1 }], ['responseFormat.type', { responseFormat: { type: 'xml' } }], ['stop', { stop: 'x', responseFormat: { type: 'json_object' } }], ['options', 'x']]) {
    const error = await refusal(generate('Hello', options).result);
    assert.equal(error.param, param, error.message);
    assert.ok(error.message.includes(param), error.message);
  }
  for (const [param, prompt] of [['prompt', null], ['prompt', 5], ['prompt', {}], ['prompt[0].content', [{ role: 'user' }]], ['ids[1]', [1, -1]], ['ids[0]', [0.5]], ['ids[1]', [1, 2n]]]) {
    assert.equal((await refusal(generate(prompt, {}).result)).param, param);
  }
  for (const [param, prompt] of [['prompt', undefined], ['prompt', []], ['prompt[1]', ['x', null]], ['prompt[0]', [-1]], ['prompt[1][0]', [[1], ['x']]]]) {
    assert.equal((await refusal(text.create({ prompt }))).param, param);
  }
  for (const [param, options] of [['signal', { signal: {} }], ['session', { session: 3 }], ['timeout', { timeout: 'x' }], ['retries', { retries: 2 }]]) {
    assert.equal((await refusal(chat.create({ messages: MESSAGES }, options))).param, param);
  }
  assert.deepEqual(requests, [], 'the engine heard of none of them');
  // What the engine refuses is named in the caller's words, too.
  const refusing = scripted(async () => { throw new MobileMoEError('Option', 'option logit_bias is for token 512; it must be for tokens of the vocabulary'); });
  assert.equal((await refusal(refusing.chat.create({ messages: MESSAGES }))).param, 'logit_bias');
  const camel = await refusal(refusing.generate('x', {}).result);
  assert.deepEqual([camel.param, camel.message.split(' is ')[0]], ['logitBias', 'option logitBias']);
});

test('a schema beside json_object is held to, as an object and as its JSON', async () => {
  const { chat, requests } = scripted();
  const schema = { type: 'object', properties: { a: { type: 'boolean' } } };
  for (const given of [schema, JSON.stringify(schema)]) {
    await chat.create({ messages: MESSAGES, response_format: { type: 'json_object', schema: given } });
    assert.deepEqual(requests.at(-1).format, { kind: 'json_schema', source: JSON.stringify(schema) });
  }
});

/** Tokens until it is aborted; `told` counts them. */
function endless() {
  const state = { told: 0, aborted: false };
  const answer = async (_, onEvent, signal) => {
    onEvent({ choice: 0, begun: true }, () => {});
    while (!signal.aborted && state.told < 500) {
      state.told += 1;
      onEvent({ choice: 0, token: { id: 0, text: 'a' } }, () => {});
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    state.aborted = signal.aborted;
    return [{ ...GENERATION, finishReason: 'abort' }];
  };
  return { state, ...scripted(answer) };
}

test('a stream that is left before its first chunk is aborted; it is read once, or twice through tee', async () => {
  const leave = {
    chat: async ({ chat }) => (await chat.create({ messages: MESSAGES, stream: true }))[Symbol.asyncIterator]().return(),
    text: async ({ text }) => (await text.create({ prompt: 'x', stream: true }))[Symbol.asyncIterator]().return(),
    pieces: async ({ generate }) => generate('x')[Symbol.asyncIterator]().return(),
    tokens: async ({ generate }) => generate('x').tokens().return(),
    cancel: async ({ generate }) => generate('x').toReadableStream().cancel(),
  };
  for (const [name, leaves] of Object.entries(leave)) {
    const scene = endless();
    await leaves(scene);
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(scene.state.aborted, name);
  }
  const { chat, generate } = scripted();
  const stream = await chat.create({ messages: MESSAGES, stream: true });
  const chunks = await all(stream);
  assert.equal((await refusal(all(stream))).code, 'StreamConsumed');
  const generation = generate('x');
  assert.deepEqual(await all(generation), ['a', 'b']);
  assert.equal((await refusal((async () => all(generation.tokens()))())).code, 'StreamConsumed');

  const [left, right] = (await chat.create({ messages: MESSAGES, stream: true })).tee();
  const deltas = (chunks) => chunks.map(({ choices: [{ delta }] }) => delta);
  assert.deepEqual([deltas(await all(left)), deltas(await all(right))], [deltas(chunks), deltas(chunks)]);
  const scene = endless();
  const halves = (await scene.chat.create({ messages: MESSAGES, stream: true })).tee();
  for await (const _ of halves[0]) break;
  let read = 0;
  for await (const _ of halves[1]) if (++read === 5) break;
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(read === 5 && scene.state.aborted, 'aborted once both are left');
});

test('an abort rejects with the caller’s reason', async () => {
  const reason = new Error('the user left');
  const outcome = (promise) => promise.then(() => 'resolved', (error) => error);
  for (const stream of [false, true]) {
    const { chat, requests } = scripted();
    const create = (signal) => outcome(chat.create({ messages: MESSAGES, stream }, { signal }));
    assert.equal(await create(AbortSignal.abort(reason)), reason);
    const plain = await create(AbortSignal.abort());
    assert.deepEqual([plain.code, plain.name, plain.cause.name, plain.status], ['Aborted', 'AbortError', 'AbortError', undefined]);
    assert.deepEqual(requests, []);
  }
  const timeout = await outcome(endless().chat.create({ messages: MESSAGES }, { timeout: 20 }));
  assert.equal(timeout.name, 'TimeoutError');
  // A stream that has begun: as the OpenAI client, it ends without an error, unless the caller gave one.
  for (const [given, expected] of [[reason, reason], [undefined, 'resolved']]) {
    const controller = new AbortController();
    const stream = await endless().chat.create({ messages: MESSAGES, stream: true }, { signal: controller.signal });
    setTimeout(() => controller.abort(given), 10);
    assert.equal(await outcome(all(stream).then(() => {})), expected);
  }
});

test('stream() tells its events, its chunks and what comes of it', async () => {
  const { chat } = scripted();
  const heard = [];
  const stream = chat.stream({ messages: MESSAGES, n: 2, logprobs: true });
  const note = (name) => (...args) => heard.push([name, ...args.map((arg) => arg?.delta ?? arg?.content ?? (typeof arg === 'object' ? '…' : arg))]);
  for (const event of ['connect', 'content', 'content.done', 'finalContent', 'finalMessage', 'message', 'end', 'abort', 'error']) stream.on(event, note(event));
  const first = stream.emitted('content');
  const never = stream.emitted('abort');
  stream.once('chunk', note('chunk')).on('chunk', () => {});
  const chunks = await all(stream);
  const completion = await stream.finalChatCompletion();
  assert.deepEqual(heard, [
    ['connect'], ['chunk', '…', '…'], ['content', 'a', 'a'], ['content', 'b', 'ab'], ['content', 'a', 'a'], ['content', 'b', 'ab'],
    ['content.done', 'ab'], ['content.done', 'ab'], ['message', 'ab'], ['finalContent', 'ab'], ['finalMessage', 'ab'], ['end'],
  ]);
  assert.deepEqual([await first, (await refusal(never)).code], ['a', 'NoSuchEvent']);
  const whole = await chat.create({ messages: MESSAGES, n: 2, logprobs: true });
  const { parsed, ...message } = completion.choices[1].message;
  assert.deepEqual([{ ...completion.choices[1], message }, parsed, completion.usage], [whole.choices[1], null, whole.usage]);
  assert.deepEqual(await Promise.all([stream.finalContent(), stream.totalUsage(), stream.done()]), ['ab', whole.usage, undefined]);
  assert.ok(chunks.every(({ choices }) => choices.length === 1), 'no chunk that was not asked for');
  assert.deepEqual((await all(stream)).length, chunks.length, 'as often as wanted');
  assert.deepEqual((await all(chat.stream({ messages: MESSAGES, stream_options: { include_usage: true } }))).at(-1).choices, []);

  const left = endless();
  const leaving = left.chat.stream({ messages: MESSAGES });
  for await (const _ of leaving) break;
  assert.equal((await refusal(leaving.done())).name, 'AbortError');
  assert.ok(leaving.aborted && leaving.ended && left.state.aborted);
  const reason = new Error('the user left');
  const controller = new AbortController();
  const given = endless().chat.stream({ messages: MESSAGES }, { signal: controller.signal });
  given.once('chunk', () => controller.abort(reason));
  assert.equal(await given.done().catch((error) => error), reason);
  for (const params of [undefined, { messages: [] }, { messages: MESSAGES, top_k: 'x' }]) {
    const refused = chat.stream(params);
    const heard = refused.emitted('error');
    const error = await refusal(refused.finalContent());
    assert.equal(await heard.catch((error) => error), error);
    assert.ok(refused.errored && !refused.aborted);
  }
});

test('parse() gives what the JSON says', async () => {
  const json = '{"name": "Ada"}';
  const saying = (finishReason) => scripted(async (_, onEvent) => {
    onEvent({ choice: 0, begun: true }, () => {});
    onEvent({ choice: 0, rest: json }, () => {});
    return [{ ...GENERATION, text: json, finishReason }];
  }).chat;
  const response_format = { type: 'json_schema', json_schema: { name: 'person', schema: {} } };
  // With the client's own helpers: what `zodResponseFormat` makes, and what reads a stream that was sent on.
  const branded = makeParseableResponseFormat(response_format, (text) => ['parsed', JSON.parse(text)]);
  const sent = (await saying('stop').create({ messages: MESSAGES, stream: true })).toReadableStream();
  assert.equal(await TheirStream.fromReadableStream(sent).finalContent(), json);
  for (const [format, expected] of [[response_format, { name: 'Ada' }], [branded, ['parsed', { name: 'Ada' }]], [undefined, null]]) {
    const params = { messages: MESSAGES, response_format: format };
    assert.deepEqual((await saying('stop').parse(params)).choices[0].message.parsed, expected);
    assert.deepEqual((await saying('stop').stream(params).finalMessage()).parsed, expected);
  }
  for (const call of [(chat, params) => chat.parse(params), (chat, params) => chat.stream(params).finalMessage()]) {
    assert.equal((await refusal(call(saying('length'), { messages: MESSAGES, response_format }))).code, 'UnfinishedAnswer');
    assert.equal((await call(saying('length'), { messages: MESSAGES }).then((value) => value, (error) => error)).parsed ?? null, null);
  }
  assert.equal((await refusal(saying('stop').parse({ messages: MESSAGES, stream: true }))).param, 'stream');
});

/** OpenAI's own examples of their API reference. */
const EXAMPLES = [
  { model: 'gpt-5', messages: [{ role: 'developer', content: 'You are a helpful assistant.' }, { role: 'user', content: 'Hello!' }] },
  { model: 'gpt-5', messages: [{ role: 'user', content: [{ type: 'text', text: 'What is in this image?' }, { type: 'image_url', image_url: { url: 'https://example.com/a.jpg' } }] }], max_tokens: 300 },
  { model: 'gpt-5', messages: [{ role: 'developer', content: 'You are a helpful assistant.' }, { role: 'user', content: 'Hello!' }], stream: true },
  { model: 'gpt-5', messages: [{ role: 'user', content: 'Hello!' }], logprobs: true, top_logprobs: 2 },
  { model: 'gpt-5', messages: [{ role: 'user', content: 'Hello' }], n: 2, stop: ['\n'], temperature: 0.2, top_p: 0.9, seed: 7, frequency_penalty: 0.5, presence_penalty: 0.5, logit_bias: { 50: -100 }, user: 'user-1234' },
  { model: 'gpt-5', messages: [{ role: 'user', content: 'Jane, 54 years old' }], response_format: { type: 'json_schema', json_schema: { name: 'person', strict: true, schema: { type: 'object', properties: { name: { type: 'string' }, age: { type: 'number' } }, required: ['name', 'age'], additionalProperties: false } } } },
  { model: 'gpt-5', messages: [{ role: 'user', content: 'Hi' }], stream: true, stream_options: { include_usage: true }, max_completion_tokens: 9, store: false, metadata: { a: 'b' }, service_tier: 'auto', reasoning_effort: 'none' },
];
const JUNK = [null, undefined, true, false, 0, -1, 1.5, 1e30, NaN, '', 'x', '5', [], [null], ['x'], {}, { a: 1 }, () => {}, Symbol('s'), 10n, new Date(0), new Map(), /x/, Object.create(null)];
const NAMES = ['tools', 'top_k', 'audio', 'store', 'constructor', '__proto__x', 'content', 'type', 'stop', 'extra'];

test('mutated requests are answered, or refused with the offending name; nothing else is thrown', async () => {
  let state = 20261127;
  const random = (below) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % below;
  const pick = (list) => list[random(list.length)];
  const places = (value, found = []) => {
    if (typeof value !== 'object' || value === null) return found;
    for (const key of Object.keys(value)) {
      found.push([value, key]);
      places(value[key], found);
    }
    return found;
  };
  const counts = { answered: 0, refused: 0 };
  for (let i = 0; i < 2000; i++) {
    const { chat } = scripted();
    const request = structuredClone(pick(EXAMPLES));
    for (let changes = 1 + random(2); changes > 0; changes--) {
      const [object, key] = pick(places(request));
      if (random(4) === 0) delete object[key];
      else if (random(4) === 0) object[pick(NAMES)] = pick(JUNK);
      else object[key] = pick(JUNK);
    }
    const outcome = await chat.create(request).then(
      async (answer) => (request.stream ? all(answer) : answer),
      (error) => error,
    );
    if (!(outcome instanceof Error)) {
      counts.answered += 1;
      continue;
    }
    counts.refused += 1;
    assert.ok(outcome instanceof MobileMoEError, `${outcome.stack}`);
    const [root] = outcome.param?.split(/[.[]/) ?? [];
    assert.ok(root === 'messages' || Object.hasOwn(request, root), `${outcome.param}: ${outcome.message}`);
    assert.ok(outcome.message.includes(outcome.param), outcome.message);
  }
  assert.ok(counts.answered > 100 && counts.refused > 100, JSON.stringify(counts));
});
