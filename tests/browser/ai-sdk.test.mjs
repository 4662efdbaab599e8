// The Vercel AI SDK's own functions, in a page, with an engine as their model.

import { strict as assert } from 'node:assert';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import * as vite from 'vite';

import { withBrowser } from './harness.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const TIMEOUT_MS = 600_000;

/** Everything that the tests below need of the SDK and of the package, on `window`. */
const MAIN = `
import { generateObject, generateText, jsonSchema, streamObject, streamText, tool } from 'ai';
import { MobileMoE } from '${ROOT}pkg/dist/index.js';
import { mobilemoe } from '${ROOT}pkg/dist/ai-sdk.js';

const engine = await MobileMoE.load('synthetic-tiny', { variant: { decode: 'thread', prefill: 'thread' } });
Object.assign(window, { engine, model: mobilemoe(engine, 'tiny'), generateObject, generateText, jsonSchema, streamObject, streamText, tool });
document.body.dataset.ready = 'yes';
`;

async function buildApp() {
  const root = join(ROOT, 'target/ai-sdk');
  await mkdir(root, { recursive: true });
  await writeFile(join(root, 'main.js'), MAIN);
  await writeFile(join(root, 'index.html'), '<!doctype html><meta charset="utf-8"><title>AI SDK</title><body><script type="module" src="main.js"></script>');
  await vite.build({ root, base: './', logLevel: 'error', build: { minify: false } });
  return join(root, 'dist');
}

test('the Vercel AI SDK', { timeout: TIMEOUT_MS }, async (t) => {
  const mounts = { '/app/': await buildApp() };
  await withBrowser({ mounts }, async ({ page, problems }) => {
    await page.goto('/app/');
    await page.locator('body[data-ready]').waitFor({ state: 'attached', timeout: 120_000 });

    await t.test('generateText: the same text as the engine’s own, with usage and finish reason', async () => {
      const { text, finishReason, usage, metadata, own } = await page.evaluate(async () => {
        const { model, engine, generateText } = window;
        const settings = { temperature: 0.8, topK: 40, topP: 0.9, seed: 5 };
        const { text, finishReason, usage, providerMetadata } = await generateText({
          model, ...settings, instructions: 'Be brief.', prompt: 'Hello', maxOutputTokens: 12, providerOptions: { mobilemoe: { repetitionPenalty: 1.2 } },
        });
        const messages = [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hello' }];
        const own = await engine.generate(messages, { ...settings, maxTokens: 12, repetitionPenalty: 1.2 }).result;
        return { text, finishReason, usage, metadata: providerMetadata.mobilemoe, own: { text: own.text, prompt: own.promptTokens, count: own.tokens.length } };
      });
      assert.equal(text, own.text);
      assert.equal(finishReason, 'length');
      assert.deepEqual([usage.inputTokens, usage.outputTokens, usage.totalTokens], [own.prompt, own.count, own.prompt + own.count]);
      assert.equal(metadata.seed, 5);
      assert.ok(metadata.tokensPerSecond > 0);
    });

    await t.test('streamText: in pieces; stop sequences; several turns', async () => {
      const { pieces, text, stopped, reason } = await page.evaluate(async () => {
        const { model, streamText, generateText } = window;
        const messages = [{ role: 'user', content: 'Hello' }, { role: 'assistant', content: 'Hi' }, { role: 'user', content: [{ type: 'text', text: 'Go on' }] }];
        const result = streamText({ model, messages, maxOutputTokens: 20 });
        const pieces = [];
        for await (const piece of result.textStream) pieces.push(piece);
        const text = await result.text;
        const { text: stopped, finishReason: reason } = await generateText({ model, messages, maxOutputTokens: 20, stopSequences: [text.slice(4, 7)] });
        return { pieces, text, stopped, reason };
      });
      assert.ok(pieces.length > 3);
      assert.equal(pieces.join(''), text);
      assert.equal(stopped, text.slice(0, text.indexOf(text.slice(4, 7))));
      assert.equal(reason, 'stop');
    });

    await t.test('abort: a stream ends, a call rejects, and the engine goes on', async () => {
      const { parts, count, name, after } = await page.evaluate(async () => {
        const { model, streamText, generateText } = window;
        const controller = new AbortController();
        const result = streamText({ model, prompt: 'Hello', abortSignal: controller.signal });
        const parts = [];
        let count = 0;
        for await (const part of result.stream ?? result.fullStream) {
          if (part.type !== 'text-delta') parts.push(part.type);
          else if (++count === 2) controller.abort();
        }
        const other = new AbortController();
        setTimeout(() => other.abort(), 200);
        const name = await generateText({ model, prompt: 'Hello', abortSignal: other.signal }).then(() => 'none', (error) => error.name);
        const after = await generateText({ model, prompt: 'Hello', maxOutputTokens: 2 });
        return { parts, count, name, after: after.usage.outputTokens };
      });
      assert.equal(parts.at(-1), 'abort', `${parts}`);
      assert.ok(count < 1000, `${count} pieces after an abort at the second`);
      assert.equal(name, 'AbortError');
      assert.equal(after, 2);
    });

    await t.test('generateObject and streamObject: as the schema says', async () => {
      const { object, partial, last, any } = await page.evaluate(async () => {
        const { model, generateObject, streamObject, jsonSchema } = window;
        const schema = jsonSchema({
          type: 'object',
          properties: { city: { enum: ['Rome', 'Oslo'] }, degrees: { type: 'integer', minimum: -9, maximum: 40 } },
          required: ['city', 'degrees'],
          additionalProperties: false,
        });
        const { object } = await generateObject({ model, schema, prompt: 'The weather?' });
        const stream = streamObject({ model, schema, prompt: 'The weather?', temperature: 1, seed: 2 });
        let partial = 0;
        for await (const _ of stream.partialObjectStream) partial += 1;
        const any = await generateObject({ model, output: 'enum', enum: ['sunny', 'rainy'], prompt: 'The weather?' });
        return { object, partial, last: await stream.object, any: any.object };
      });
      for (const { city, degrees } of [object, last]) {
        assert.ok(['Rome', 'Oslo'].includes(city) && degrees >= -9 && degrees <= 40);
      }
      assert.ok(partial > 1);
      assert.ok(['sunny', 'rainy'].includes(any));
    });

    await t.test('what the models cannot do is refused', async () => {
      const refused = await page.evaluate(async () => {
        const { model, generateText, tool, jsonSchema } = window;
        const failure = (settings) => generateText({ model, maxRetries: 0, ...settings }).then(() => 'none', ({ message }) => message);
        return [
          await failure({ prompt: 'Hi', tools: { time: tool({ inputSchema: jsonSchema({ type: 'object' }) }) } }),
          await failure({ messages: [{ role: 'user', content: [{ type: 'image', image: new Uint8Array([137, 80, 78, 71]) }] }] }),
          await failure({ prompt: 'Hi', providerOptions: { mobilemoe: { topQ: 1 } } }),
        ];
      });
      assert.match(refused[0], /tools/);
      assert.match(refused[1], /"file"/);
      assert.match(refused[2], /topQ/);
    });
    assert.deepEqual(problems.filter((problem) => !/favicon/.test(problem)), []);
  });
});
