// What the pocket model says to `exercise`, in every runtime, letter for letter.

import { strict as assert } from 'node:assert';

const TEXTS = ['Your name is Ada.', '2 + 3 = 5.', 'Once upon a time there was a kind goat named Ted'];

/**
 * Holds an exercise against what is expected, and prints its times.
 *
 * @param {import('node:test').TestContext} t
 * @param {string} runtime with its version
 * @param {Awaited<ReturnType<typeof import('./exercise.mjs').exercise>>} done
 */
export function assertExercised(t, runtime, { texts, session, structured, times }) {
  assert.deepEqual(texts, TEXTS);
  assert.deepEqual(session, { text: 'Your name is Tom.', reused: true });
  assert.match(structured, /^\{\s*"happy"\s*:\s*(true|false)\s*\}$/);
  const seconds = (ms) => (ms / 1000).toFixed(2);
  t.diagnostic(`${runtime}: loaded in ${seconds(times.loadMs)} s, then the first token after ${seconds(times.firstMs)} s, of the second answer after ${seconds(times.secondMs)} s`);
}
