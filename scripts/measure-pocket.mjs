// `cargo run --release -p training -- held-out | node scripts/measure-pocket.mjs [DIR]`: perplexity of held-out texts in
// headless Chromium, beside the CPU reference's. A line of the input: {"ids", "learned", "loss"}.

import { basename, resolve } from 'node:path';
import { createInterface } from 'node:readline';

import { load } from '../tests/browser/engine.mjs';
import { withBrowser } from '../tests/browser/harness.mjs';

const dir = process.argv[2] ?? 'models/pocket';
const texts = [];
for await (const line of createInterface({ input: process.stdin })) texts.push(JSON.parse(line));

await withBrowser({ models: [dir] }, async ({ page }) => {
  page.setDefaultTimeout(0);
  const facts = await load(page, `/models/${encodeURIComponent(basename(resolve(dir)))}/`);
  let tokens = 0;
  let browserLoss = 0;
  let referenceLoss = 0;
  for (const { ids, learned, loss } of texts) {
    const { logprobs } = await page.evaluate((ids) => window.engine.score(ids.slice(0, 1), ids.slice(1)), ids);
    logprobs.forEach((logprob, i) => {
      if (!learned[i + 1]) return;
      tokens += 1;
      browserLoss -= logprob;
    });
    referenceLoss += loss;
  }
  const [browser, reference] = [browserLoss, referenceLoss].map((loss) => Math.exp(loss / tokens));
  const difference = 100 * (browser / reference - 1);
  console.log(`${texts.length} texts, ${tokens} tokens on ${facts.adapter}`);
  console.log(`perplexity ${browser.toFixed(5)} in the browser, ${reference.toFixed(5)} by the CPU reference (${difference.toFixed(3)} %)`);
});
