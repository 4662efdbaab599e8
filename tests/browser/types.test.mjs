// The package's types against those of the official OpenAI client and of the Vercel AI SDK.

import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

test('the OpenAI client’s types accept what the engine answers, and its users’ requests are taken; the AI SDK takes the model', () => {
  const { status, stdout } = spawnSync('node_modules/.bin/tsc', ['--project', 'tests/types'], { encoding: 'utf8' });
  assert.equal(status, 0, stdout);
});
