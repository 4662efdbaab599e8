// The package in Chromium (WebGPU on SwiftShader) and in Firefox (on Mesa's lavapipe): the same answers.

import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { serve } from '../../scripts/serve.mjs';
import { NO_FIREFOX, withFirefox } from '../browser/firefox.mjs';
import { withBrowser } from '../browser/harness.mjs';
import { assertExercised } from './expected.mjs';

const TIMEOUT_MS = 240_000;
const mounts = { '/runtimes/': fileURLToPath(new URL('.', import.meta.url)), '/pages/': fileURLToPath(new URL('../browser/pages', import.meta.url)) };

/** Runs in a page. */
async function exercised(style) {
  const [{ MobileMoE }, { exercise }] = await Promise.all([import('/pkg/dist/index.js'), import('/runtimes/exercise.mjs')]);
  return exercise(MobileMoE, style);
}

test('the pocket model in Chromium', { timeout: TIMEOUT_MS }, (t) =>
  withBrowser({ mounts }, async ({ page, context, problems }) => {
    await page.goto('/pages/blank.html');
    assertExercised(t, `Chromium ${context.browser()?.version() ?? ''}`, await page.evaluate(exercised, 'thread'));
    assert.deepEqual(problems, []);
  }),
);

test('the pocket model in Firefox', { timeout: TIMEOUT_MS, skip: NO_FIREFOX }, (t) =>
  withFirefox(async (page) => {
    const server = await serve({ mounts });
    try {
      await page.goto(`${server.origin}/pages/blank.html`);
      assertExercised(t, `Firefox ${page.version}`, await page.evaluate(exercised, 'workgroup'));
    } finally {
      await server.close();
    }
  }),
);
