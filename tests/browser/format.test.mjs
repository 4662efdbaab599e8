// Structured output through the package: an untrained model says nothing sensible, but what it says has the form asked for.

import { strict as assert } from 'node:assert';

import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

import { load } from './engine.mjs';
import { browserTest } from './harness.mjs';
import { randomFrom, randomSchema } from './schemas.mjs';

const TIMEOUT_MS = 600_000;
const MESSAGES = [{ role: 'user', content: 'Describe yourself in JSON.' }];
const SCHEMAS = 200;
const MODULE = /mobilemoe_constrain_bg\.wasm$/;

const PERSON = {
  type: 'object',
  properties: { name: { type: 'string', pattern: '^[A-Z][a-z]{1,3}$' }, age: { type: 'integer', minimum: 0, maximum: 150 } },
  required: ['name', 'age'],
  additionalProperties: false,
};
const asFormat = (schema) => ({ type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } });

browserTest('structured output', { timeoutMs: TIMEOUT_MS }, async ({ page, server }, t) => {
  await load(page, 'synthetic-tiny', { variant: { decode: 'thread', prefill: 'thread' } }); // no need to measure
  const chat = (params) => page.evaluate((params) => window.engine.chat.completions.create(params), { messages: MESSAGES, ...params });
  const requests = () => server.requests.filter(({ path }) => MODULE.test(path));

  await t.test('its module is fetched when first used, and asked for again if that failed', async () => {
    await chat({ max_tokens: 2, response_format: { type: 'text' } });
    assert.equal(requests().length, 0);
    Object.assign(server.faults, { path: MODULE, status: 503 });
    const ask = () => page.evaluate(({ messages, response_format }) => window.failure(
      window.engine.chat.completions.create({ messages, response_format })), { messages: MESSAGES, response_format: asFormat(PERSON) });
    assert.equal((await ask()).code, 'ModuleMissing');
    Object.assign(server.faults, { path: undefined, status: undefined });
    await chat({ response_format: asFormat(PERSON) });
    const count = requests().length;
    await chat({ response_format: asFormat(PERSON) });
    assert.equal(requests().length, count);
  });

  await t.test('a schema holds: greedy and sampled, streamed, under bias and penalties, beside others', async () => {
    const response_format = asFormat(PERSON);
    const oddIds = Object.fromEntries(Array.from({ length: 256 }, (_, id) => [id, id % 2 ? 100 : -100]));
    const settings = [
      { logit_bias: oddIds },
      { temperature: 1.5, seed: 3, n: 2, frequency_penalty: 2, presence_penalty: 2, repetition_penalty: 1.5 },
    ];
    for (const params of settings) {
      for (const { message, finish_reason } of (await chat({ response_format, ...params })).choices) {
        const { name, age, ...rest } = JSON.parse(message.content);
        assert.match(name, /^[A-Z][a-z]{1,3}$/);
        assert.ok(Number.isInteger(age) && age >= 0 && age <= 150);
        assert.deepEqual([rest, finish_reason], [{}, 'stop']);
      }
    }
    const streamed = await page.evaluate(async ({ messages, response_format }) => {
      const { engine } = window;
      const free = engine.generate(messages, { maxTokens: 8 }).result;
      let text = '';
      const stream = await engine.chat.completions.create({ messages, response_format, stream: true });
      for await (const { choices } of stream) text += choices[0]?.delta.content ?? '';
      return { text, free: (await free).text, alone: (await engine.generate(messages, { maxTokens: 8 }).result).text };
    }, { messages: MESSAGES, response_format });
    assert.deepEqual(Object.keys(JSON.parse(streamed.text)), ['name', 'age']);
    assert.equal(streamed.free, streamed.alone, 'what runs beside it is not constrained');
  });

  await t.test('objects, regexes, grammars; cut off by max_tokens it is a beginning', async () => {
    const text = async (response_format, params = {}) => (await chat({ response_format, ...params })).choices[0];
    assert.match((await text({ type: 'regex', regex: '(left|right) [0-9]{2}°' })).message.content, /^(left|right) \d{2}°$/);
    assert.match((await text({ type: 'grammar', grammar: 'start: "[" /[ab]/ ("," /[ab]/)~3 "]"' })).message.content, /^\[[ab](,[ab]){3}\]$/);
    const cut = await text({ type: 'json_object' }, { max_tokens: 3, temperature: 1, seed: 5 });
    assert.equal(cut.finish_reason, 'length');
    assert.match(cut.message.content, /^\{/);
    const native = await page.evaluate(async () => {
      const { text, finishReason } = await window.engine.generate('It is', { responseFormat: { type: 'regex', regex: ' (on|off)' } }).result;
      return { text, finishReason };
    });
    assert.match(native.text, /^ (on|off)$/);
    assert.equal(native.finishReason, 'stop');
  });

  await t.test('what cannot be held to is refused, and the engine goes on', async () => {
    const cases = [
      [asFormat({ type: 'array', uniqueItems: true }), 'BadConstraint', /uniqueItems/],
      [{ type: 'regex', regex: '(' }, 'BadConstraint', /unclosed/],
      [{ type: 'grammar', grammar: 'start: start' }, 'BadConstraint', /no token/],
      [{ type: 'json_schema', json_schema: { name: 'x' } }, 'BadOptions', /json_schema\.schema/],
      [{ type: 'xml' }, 'BadOptions', /"xml"/],
    ];
    for (const [response_format, code, message] of cases) {
      const failure = await page.evaluate(({ messages, response_format }) => window.failure(
        window.engine.chat.completions.create({ messages, response_format })), { messages: MESSAGES, response_format });
      assert.equal(failure.code, code, failure.message);
      assert.match(failure.message, message);
    }
    assert.equal((await chat({ max_tokens: 2 })).choices.length, 1);
  });

  await t.test(`${SCHEMAS} random schemas: every answer is valid`, async () => {
    const ajv = new Ajv({ strict: true, strictTypes: false, strictTuples: false });
    addFormats(ajv);
    const random = randomFrom(42);
    // Names that the schema leaves open are as long as an untrained model likes.
    const isOpen = (schema) => JSON.stringify(schema).includes('"additionalProperties":{');
    const closed = () => {
      for (;;) {
        const schema = randomSchema(random, 1);
        if (!isOpen(schema)) return schema;
      }
    };
    const schemas = Array.from({ length: SCHEMAS }, closed);
    const answers = [];
    for (const [seed, schema] of schemas.entries()) {
      const { choices: [{ message, finish_reason }] } = await chat({ response_format: asFormat(schema), temperature: 1, seed });
      answers.push({ text: message.content, finish: finish_reason });
    }
    answers.forEach(({ text, finish }, i) => {
      assert.equal(finish, 'stop', `${text} under ${JSON.stringify(schemas[i])}`);
      const valid = ajv.compile(schemas[i]);
      assert.ok(valid(JSON.parse(text)), `${text} under ${JSON.stringify(schemas[i])}: ${ajv.errorsText(valid.errors)}`);
    });
  });
});
