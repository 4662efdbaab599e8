// The package's types against those of the official OpenAI client and of the Vercel AI SDK.

import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

test('the OpenAI client’s types accept what the engine answers, and its users’ requests are taken; the AI SDK takes the model', () => {
  const { status, stdout } = spawnSync('node_modules/.bin/tsc', ['--project', 'tests/types'], { encoding: 'utf8' });
  assert.equal(status, 0, stdout);
});

test('the README’s lines compile, under --strict', () => {
  const [, lines] = /```ts\n([^]*?)```/.exec(readFileSync('README.md', 'utf8'));
  mkdirSync('target/readme', { recursive: true });
  writeFileSync('target/readme/start.ts', lines);
  const options = { strict: true, noEmit: true, target: 'es2022', module: 'esnext', moduleResolution: 'bundler', skipLibCheck: true, types: [] };
  const compilerOptions = { ...options, lib: ['es2023', 'dom', 'esnext.disposable'], paths: { 'mobilemoe-web': ['../../pkg/dist/index.d.ts'] } };
  writeFileSync('target/readme/tsconfig.json', JSON.stringify({ compilerOptions, include: ['start.ts'] }));
  const { status, stdout } = spawnSync('node_modules/.bin/tsc', ['--project', 'target/readme'], { encoding: 'utf8' });
  assert.equal(status, 0, stdout);
});
