// The Llama-3 tokenizer and chat template in WASM, against ids that tiktoken computed.

import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';

import { openBlank } from './engine.mjs';
import { browserTest } from './harness.mjs';

const FOLDER = '/fixtures/tokenizer-llama3/';
const { cases, chats, stream_decode: streams } = JSON.parse(
  readFileSync(new URL('../fixtures/tokenizer-llama3/tokenizer-cases.json', import.meta.url), 'utf8'),
);

/** tiny-a's weights with the Llama-3 tokenizer beside them. */
async function loadWithTokenizer(page) {
  await openBlank(page);
  await page.evaluate(async (folder) => {
    const files = await window.pick('/fixtures/tiny-a/');
    const packed = (await fetch(`${folder}tokenizer.json.gz`)).body.pipeThrough(new DecompressionStream('gzip'));
    files.push(new File([await new Response(packed).blob()], 'tokenizer.json'));
    for (const name of ['tokenizer_config.json', 'special_tokens_map.json']) {
      files.push(new File([await (await fetch(folder + name)).blob()], name));
    }
    window.engine = await window.MobileMoE.load(files);
  }, FOLDER);
}

browserTest('tokenizer and chat template: every case, exactly', { timeoutMs: 600_000 }, async ({ page }) => {
  await loadWithTokenizer(page);
  const texts = cases.map(({ text }) => text);
  const found = await page.evaluate(
    (texts) => Promise.all(texts.map(async (text) => {
      const [parsed, plain, framed] = await Promise.all([
        window.engine.tokenize(text, { parseSpecialTokens: true }),
        window.engine.tokenize(text),
        window.engine.tokenize(text, { addSpecialTokens: true, parseSpecialTokens: true }),
      ]);
      return { ids: [...parsed], plain: [...plain], framed: [...framed], back: await window.engine.detokenize(parsed) };
    })),
    texts,
  );
  assert.ok(cases.length >= 80);
  cases.forEach(({ text, ids, ids_plain: plain = ids }, i) => {
    assert.deepEqual(found[i], { ids, plain, framed: [128000, ...ids], back: text }, JSON.stringify(text));
  });

  for (const { text, ids } of streams) {
    assert.equal(await page.evaluate((ids) => window.engine.detokenize(ids), ids), text);
  }

  for (const { messages, add_generation_prompt: addGenerationPrompt, text, ids, ids_segmented: fed = ids } of chats) {
    const rendered = await page.evaluate(async ({ messages, options }) => ({
      text: await window.engine.applyChatTemplate(messages, options),
      ids: [...(await window.engine.tokenizeChat(messages, options))],
    }), { messages, options: { addGenerationPrompt } });
    assert.deepEqual(rendered, { text, ids: fed });
  }
});
