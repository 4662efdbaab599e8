// The demo page as its user meets it. With SCREENSHOTS=folder it leaves pictures of itself there.

import { strict as assert } from 'node:assert';

import { browserTest } from './harness.mjs';

const TIMEOUT_MS = 600_000;
/** Longest time the page may leave a frame or a click waiting; all heavy work is in the worker. */
const LONGEST_PAUSE_MS = 500;

async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });
}

/** From now on the page notes how long its event loop was away. */
async function watchPauses(page) {
  await page.evaluate(() => {
    window.longestPauseMs = 0;
    let last = performance.now();
    const tick = () => {
      const now = performance.now();
      window.longestPauseMs = Math.max(window.longestPauseMs, now - last);
      last = now;
      setTimeout(tick, 10);
    };
    tick();
  });
}

for (const [device, viewport, colorScheme] of [
  ['phone', { width: 390, height: 844 }, 'light'],
  ['desktop', { width: 1280, height: 800 }, 'dark'],
]) {
  browserTest(`the page on a ${device}: open, ask, stop, ask again`, { viewport, timeoutMs: TIMEOUT_MS }, async ({ page }) => {
    await page.emulateMedia({ colorScheme });
    await page.goto('/');
    await page.getByText(/^GPU: .*buffers up to/).waitFor();
    assert.ok(await noSidewaysScroll(page));
    await picture(page, `${device}-open`);

    await watchPauses(page);
    await page.getByRole('button', { name: 'Try the tiny model' }).click();
    await page.getByRole('button', { name: 'Cancel' }).waitFor();
    await picture(page, `${device}-loading`);
    const prompt = page.getByLabel('Your message');
    await prompt.waitFor({ timeout: TIMEOUT_MS });

    await prompt.fill('What is a mixture of experts?');
    await page.getByRole('button', { name: 'Send' }).click();
    const words = page.locator('.answered .words');
    await page.waitForFunction(() => document.querySelector('.writing .words')?.textContent.length > 80);
    await picture(page, `${device}-writing`);
    assert.equal(await page.locator('#transcript').getAttribute('aria-busy'), 'true');
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.locator('.note').waitFor();
    const answered = await words.textContent();
    assert.match(await page.locator('.note').textContent(), /\d+ tokens.*tokens\/s.*first after.*stopped/);
    assert.equal(await page.locator('#transcript').getAttribute('aria-busy'), 'false');

    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByLabel('Temperature').fill('0.8');
    await page.getByLabel('Longest answer, in tokens').fill('24');
    await page.getByLabel('Seed').fill('11');
    await picture(page, `${device}-settings`);
    await page.getByRole('button', { name: 'Done' }).click();
    await prompt.fill('And in one word?');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.locator('.note').nth(1).waitFor({ timeout: TIMEOUT_MS });
    assert.equal(await words.first().textContent(), answered, 'the first answer stays as it was');
    assert.match(await page.locator('.note').nth(1).textContent(), /^(24 tokens.*cut at the limit|\d+ tokens?)/);
    assert.ok(await noSidewaysScroll(page));
    await picture(page, `${device}-answered`);

    await page.getByRole('button', { name: 'New chat' }).click();
    assert.equal(await page.locator('#transcript li').count(), 0);

    const pauseMs = await page.evaluate(() => window.longestPauseMs);
    console.log(`    ${device}: longest pause of the page ${pauseMs.toFixed(0)} ms`);
    assert.ok(pauseMs < LONGEST_PAUSE_MS, `the page did not react for ${pauseMs} ms`);

    // The GPU goes away: a sentence and a way on.
    await page.workers()[0].evaluate(() => void setTimeout(() => { throw new Error('on purpose'); }));
    await page.getByRole('alert').getByText(/engine stopped unexpectedly/).waitFor();
    await page.getByRole('button', { name: 'Reload the page' }).waitFor();
    await picture(page, `${device}-lost`);
  });
}

browserTest('the page opens ?model= addresses, says what is wrong with one, and can be told to stop', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
  await page.goto('/?model=/fixtures/nothing-here/');
  const alert = page.getByRole('alert');
  await alert.getByText('A file of the checkpoint is missing.').waitFor();
  assert.match(await alert.textContent(), /config\.json.*MissingFile/);
  await picture(page, 'error');
  await page.getByRole('button', { name: 'Close' }).click();

  Object.assign(server.faults, { path: /model\.safetensors/, bytesPerSecond: 1_000 });
  await page.getByLabel('Address of a checkpoint’s folder').fill('/fixtures/tiny-a/');
  await page.getByRole('button', { name: 'Open' , exact: true }).click();
  assert.equal(new URL(page.url()).searchParams.get('model'), '/fixtures/tiny-a/');
  await page.getByText('Opening tiny-a').waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('heading', { name: /Sixty experts/ }).waitFor();
  assert.ok(await alert.isHidden());
});

browserTest('a checkpoint opens from a picked folder, without any request for it', { timeoutMs: TIMEOUT_MS }, async ({ page, server }) => {
  await page.addInitScript(() => delete window.showDirectoryPicker); // as in Safari and Firefox
  await page.goto('/');
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Open a folder on this device' }).click();
  await (await chooser).setFiles(new URL('../fixtures/tiny-a', import.meta.url).pathname);
  await page.getByLabel('Your message').waitFor({ timeout: TIMEOUT_MS });
  assert.match(await page.locator('#model-line').textContent(), /tiny-a · .*swiftshader · .* MB on the GPU/);
  assert.ok(!server.requests.some(({ path }) => path.includes('safetensors')));

  // This one has no tokenizer: the page says so, and gives the question back.
  await page.getByLabel('Your message').fill('Hello');
  await page.getByRole('button', { name: 'Send' }).click();
  await page.getByRole('alert').getByText(/tokenizer\.json/).waitFor();
  assert.equal(await page.getByLabel('Your message').inputValue(), 'Hello');
});

browserTest('a browser without WebGPU is told what to do', {}, async ({ page }) => {
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined }));
  await page.goto('/');
  await page.getByText(/no WebGPU.*Chrome or Edge/).waitFor();
});

async function noSidewaysScroll(page) {
  return page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
}
