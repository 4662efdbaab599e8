// The engine in a browser against official code: logits, routing, greedy continuations, scores.

import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';

import { load } from './engine.mjs';
import { browserTest } from './harness.mjs';
import { readSafetensors } from './safetensors.mjs';

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));
/** Largest difference of a logit, with keys and values in 32 bits. */
const TOLERANCE = 1e-3;
/** With keys and values in 16 bits (f16 has a relative step of 2^-11); what was measured is printed. */
const TOLERANCE_F16_KV = 5e-2;
const TIMEOUT_MS = 1_800_000;

// In software the longest prompt takes minutes: by default it is run once. MOBILEMOE_PARITY=full runs every prompt
// every way.
const ALL = ['p1', 'p2', 'p7', 'p33', 'p130', 'p300', 'p1500'];
const FULL = process.env.MOBILEMOE_PARITY === 'full';
const SHORT = FULL ? ALL : ALL.slice(0, 5);
/** fixture, load options, prompts, tolerance */
const RUNS = [
  ['tiny-a', { kv: 'f32' }, ALL, TOLERANCE],
  ['tiny-c', { kv: 'f32' }, SHORT, TOLERANCE],
  ['tiny-a-sft', { kv: 'f32' }, SHORT, TOLERANCE],
  // Token by token, and in chunks that do not divide the prompts, the cache must hold the same.
  ['tiny-a', { kv: 'f32', chunkTokens: 1 }, SHORT, TOLERANCE],
  ['tiny-c', { kv: 'f32', chunkTokens: 50 }, SHORT, TOLERANCE],
  // The kernels that software adapters do not choose, slow there: logits only, by default.
  ['tiny-a', { kv: 'f32', variant: { decode: 'workgroup', prefill: 'workgroup' } }, FULL ? ALL : ALL.slice(0, 4), TOLERANCE],
  ['tiny-a', {}, SHORT, TOLERANCE_F16_KV],
];

for (const [fixture, options, prompts, tolerance] of RUNS) {
  browserTest(`${fixture} ${JSON.stringify(options)}`, { timeoutMs: TIMEOUT_MS }, async ({ page }) => {
    const expected = JSON.parse(readFileSync(`${FIXTURES}${fixture}/expected.json`, 'utf8'));
    const tensors = readSafetensors(`${FIXTURES}${fixture}/expected.safetensors`);
    await load(page, `/fixtures/${fixture}/`, options);
    // The GPU runs a BF16 checkpoint quantized: it is held to the reference on the same quantized weights.
    const quantized = fixture === 'tiny-a-sft' ? quantize(fixture) : undefined;

    let worst = 0;
    for (const name of prompts) {
      const { tokens, logits: positions } = expected.prompts[name];
      const found = await logits(page, tokens, positions === 'all positions');
      const rows = positions === 'all positions' ? tokens.length : 1;
      const wanted = quantized?.logits(tokens).slice(-rows).flat() ?? tensors[`${name}.logits`].data;
      const error = largestDifference(found.logits, wanted);
      assert.ok(error <= tolerance, `${name}: a logit differs by ${error}`);
      worst = Math.max(worst, error);
      if (!quantized) compareRouting(name, found, tensors, tolerance);
    }
    console.log(`    ${fixture} ${JSON.stringify(options)}: largest difference of a logit ${worst.toExponential(2)}`);

    quantized?.remove();
    if (quantized || (options.variant?.decode === 'workgroup' && !FULL)) return;

    for (const [name, { prompt, tokens, margins }] of Object.entries(expected.greedy)) {
      if (prompt.length > 130 && !prompts.includes(name)) continue;
      const decisive = firstIndex(margins, (margin) => margin < 2 * tolerance);
      const found = await greedy(page, prompt, tokens.length);
      assert.deepEqual(found.slice(0, decisive), tokens.slice(0, decisive), `greedy ${name}, decided up to step ${decisive}`);
    }

    assert.ok(expected.scoring.length > 0);
    for (const [i, { context, continuation, token_logprobs: logprobs, logprob_sum: sum, is_greedy: isGreedy }] of expected.scoring.entries()) {
      const found = await score(page, context, continuation);
      const error = largestDifference(found.logprobs, logprobs);
      assert.ok(error <= 2 * tolerance, `scoring ${i}: a log-probability differs by ${error}`);
      assert.ok(Math.abs(found.logprobs.reduce((a, b) => a + b) - sum) <= 2 * tolerance * logprobs.length, `scoring ${i}: sum`);
      assert.equal(found.isGreedy, isGreedy, `scoring ${i}: greedy or not`);
    }
  });
}

/** The fixture's BF16 weights in INT4, by the native tool, whose CPU reference computes `logits(ids)` [position][vocab]. */
function quantize(fixture) {
  const target = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../target', import.meta.url));
  const tool = (...args) => execFileSync(`${target}/debug/mobilemoe`, args, { maxBuffer: 2 ** 28, encoding: 'utf8' });
  const folder = mkdtempSync(`${tmpdir()}/mobilemoe-quantized-`);
  tool('quantize', `${FIXTURES}${fixture}`, folder);
  return {
    logits: (ids) => JSON.parse(tool('logits', folder, '--reference', '--ids', ids.join(','))).logits,
    remove: () => rmSync(folder, { recursive: true }),
  };
}

/** Experts must be the same wherever official code's choice was clearer than our error; weights then agree too. */
function compareRouting(name, found, tensors, tolerance) {
  const margin = tensors[`${name}.router.margin`].data;
  const experts = tensors[`${name}.router.experts`];
  const weights = tensors[`${name}.router.weights`].data;
  const k = experts.shape.at(-1);
  assert.equal(found.experts.length, experts.data.length, `${name}: routing of every layer and token`);
  let compared = 0;
  for (let i = 0; i < margin.length; i++) {
    if (margin[i] <= tolerance) continue;
    compared += 1;
    const want = new Map(Array.from({ length: k }, (_, j) => [experts.data[i * k + j], weights[i * k + j]]));
    for (let j = i * k; j < (i + 1) * k; j++) {
      const weight = want.get(found.experts[j]);
      assert.notEqual(weight, undefined, `${name}: choice ${i} took expert ${found.experts[j]}, not one of ${[...want.keys()]}`);
      assert.ok(Math.abs(found.weights[j] - weight) <= tolerance, `${name}: choice ${i}, expert ${found.experts[j]}: weight`);
    }
  }
  // With 16-bit keys and values few choices of these small prompts are clear enough.
  assert.ok(tolerance > TOLERANCE || compared >= 0.9 * margin.length, `${name}: only ${compared} of ${margin.length} choices were compared`);
}

function largestDifference(found, expected) {
  assert.equal(found.length, expected.length);
  let largest = 0;
  for (let i = 0; i < found.length; i++) {
    const difference = Math.abs(found[i] - expected[i]);
    if (!(difference <= largest)) largest = difference; // NaN too
  }
  return largest;
}

function firstIndex(values, holds) {
  const index = values.findIndex(holds);
  return index === -1 ? values.length : index;
}

async function logits(page, ids, allPositions) {
  return page.evaluate(async ({ ids, allPositions }) => {
    const { logits, experts, weights } = await window.engine.logits(ids, { allPositions });
    return { logits: [...logits], experts: [...experts], weights: [...weights] };
  }, { ids, allPositions });
}

async function greedy(page, ids, maxTokens) {
  return page.evaluate(async ({ ids, maxTokens }) => {
    const { tokens } = await window.engine.generate(ids, { maxTokens }).result;
    return [...tokens];
  }, { ids, maxTokens });
}

async function score(page, context, continuation) {
  return page.evaluate(async ({ context, continuation }) => {
    const { logprobs, isGreedy } = await window.engine.score(context, continuation);
    return { logprobs: [...logprobs], isGreedy };
  }, { context, continuation });
}
