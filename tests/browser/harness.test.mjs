// The ground the other browser tests stand on: WebGPU computes here, and nothing that goes wrong in a page goes unseen.

import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { browserTest, withBrowser } from './harness.mjs';

browserTest('WebGPU computes in this browser', {}, async ({ page }) => {
  await page.goto('/pages/blank.html');
  const doubled = await page.evaluate(async () => {
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter.requestDevice();
    const code = '@group(0) @binding(0) var<storage, read_write> x: array<u32>;\n'
      + '@compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) { x[i] = 2u * x[i]; }';
    const pipeline = device.createComputePipeline({
      layout: 'auto',
      compute: { module: device.createShaderModule({ code }) },
    });
    const buffer = device.createBuffer({
      size: 16,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    device.queue.writeBuffer(buffer, 0, new Uint32Array([1, 2, 3, 4]));
    const readable = device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer } }],
    }));
    pass.dispatchWorkgroups(1);
    pass.end();
    encoder.copyBufferToBuffer(buffer, 0, readable, 0, 16);
    device.queue.submit([encoder.finish()]);
    await readable.mapAsync(GPUMapMode.READ);
    return [...new Uint32Array(readable.getMappedRange())];
  });
  assert.deepEqual(doubled, [2, 4, 6, 8]);
});

browserTest('the private file system keeps a file across a reload', {}, async ({ page }) => {
  await page.goto('/pages/blank.html');
  await page.evaluate(async () => {
    const file = await (await navigator.storage.getDirectory()).getFileHandle('kept', { create: true });
    const writable = await file.createWritable();
    await writable.write('still here');
    await writable.close();
  });
  await page.reload();
  const text = await page.evaluate(async () => {
    const file = await (await navigator.storage.getDirectory()).getFileHandle('kept');
    return (await file.getFile()).text();
  });
  assert.equal(text, 'still here');
});

const FAULTS = {
  'a page that throws': () => setTimeout(() => { throw new Error('on purpose'); }),
  'a rejection that nobody handles': () => void Promise.reject(new Error('on purpose')),
  'an error in the console': () => console.error('on purpose'),
  'a worker that throws': () => {
    const script = new Blob(['throw new Error("on purpose")'], { type: 'text/javascript' });
    new Worker(URL.createObjectURL(script));
  },
};

for (const [name, fault] of Object.entries(FAULTS)) {
  test(`the harness notices ${name}`, { timeout: 60_000 }, () => withBrowser({}, async ({ page, problems }) => {
    await page.goto('/pages/blank.html');
    assert.deepEqual(problems, []);
    await page.evaluate(fault);
    const giveUp = performance.now() + 10_000;
    while (problems.length === 0 && performance.now() < giveUp) await page.waitForTimeout(20);
    assert.match(problems.join('\n'), /on purpose/);
  }));
}
