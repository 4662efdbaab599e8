// The model that comes with the project, as the demo opens it. With SCREENSHOTS=folder it leaves pictures there.

import { strict as assert } from 'node:assert';
import { fileURLToPath } from 'node:url';

import { browserTest } from './harness.mjs';

const TIMEOUT_MS = 300_000;
const models = [fileURLToPath(new URL('../../models/pocket', import.meta.url))];

browserTest('the pocket model remembers a name, and nothing is asked of any other server', { models, timeoutMs: TIMEOUT_MS, viewport: { width: 390, height: 844 } }, async ({ page, server }) => {
  const elsewhere = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(server.origin)) elsewhere.push(request.url());
  });
  await page.goto('/');
  await page.getByText('comes with this server').waitFor();
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/pocket-open.png` });
  await page.getByRole('button', { name: 'pocket' }).click();
  const prompt = page.getByLabel('Your message');
  await prompt.waitFor({ timeout: TIMEOUT_MS });
  assert.equal(new URL(page.url()).searchParams.get('model'), '/models/pocket/');

  const answers = page.locator('.answered .words');
  for (const [i, question] of ['My name is Ada.', 'What is my name?'].entries()) {
    await prompt.fill(question);
    await page.getByRole('button', { name: 'Send' }).click();
    await page.locator('.note').nth(i).waitFor({ timeout: TIMEOUT_MS });
  }
  assert.equal((await answers.nth(1).textContent()).trim(), 'Your name is Ada.');
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/pocket-answered.png` });
  assert.deepEqual(elsewhere, []);
});
