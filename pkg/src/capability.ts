/** Whether a checkpoint can run here: what it needs, held against what the worker's browser offers. */
import type { WebCheckpoint } from '../wasm/mobilemoe_web.js';
import type { WireLoadOptions } from './protocol.js';
import type { AdapterFacts, Capability, MemoryPlan } from './types.js';

/** What a conversation's cache begins with. */
const FIRST_TOKENS = 256;

type Planned = Omit<MemoryPlan, 'neededBytes' | 'mostBytes' | 'deviceBytes'>;

export async function capability(checkpoint: WebCheckpoint, options: WireLoadOptions): Promise<Capability> {
  const planned = (await checkpoint.plan(options)) as Planned;
  const fixed = planned.weightBytes + planned.scratchBytes;
  const { deviceMemory } = navigator as { deviceMemory?: number };
  const memory: MemoryPlan = {
    ...planned,
    neededBytes: fixed + planned.kvBytesPerToken * Math.min(FIRST_TOKENS, planned.contextLength),
    mostBytes: fixed + planned.kvBytesPerToken * planned.contextLength,
    deviceBytes: deviceMemory === undefined ? undefined : deviceMemory * 2 ** 30,
  };
  const adapter = await findAdapter(options.lowPower);
  const missing = [...missingOf(adapter, memory)];
  return { ok: missing.length === 0, missing, adapter, memory };
}

function* missingOf(adapter: AdapterFacts | undefined, memory: MemoryPlan): Generator<{ code: string; message: string }> {
  const { largestBufferBytes, largestBindingBytes, neededBytes, deviceBytes } = memory;
  if (!self.isSecureContext) {
    yield { code: 'NoWebGpu', message: 'WebGPU is offered to secure pages only: open this page over https or from localhost.' };
  } else if (!navigator.gpu) {
    yield {
      code: 'NoWebGpu',
      message: 'This browser has no WebGPU in workers: use Chrome or Edge 121, Safari 26, Firefox 141 or newer, and look whether hardware acceleration is switched off.',
    };
  } else if (!adapter) {
    yield { code: 'NoAdapter', message: 'The browser offers no GPU: look whether hardware acceleration is switched off.' };
  } else {
    for (const [limit, needed] of [['maxBufferSize', largestBufferBytes], ['maxStorageBufferBindingSize', largestBindingBytes]] as const) {
      if (needed <= adapter[limit]) continue;
      const message = `The GPU allows ${limit} of ${adapter[limit]} bytes, the model needs ${needed}: a smaller one, or a shorter context, may fit.`;
      yield { code: 'AdapterLimit', message };
    }
  }
  if (deviceBytes !== undefined && neededBytes > deviceBytes) {
    yield { code: 'Memory', message: `The model needs ${neededBytes} bytes, the device has about ${deviceBytes}: a smaller one may fit.` };
  }
}

/** What the browser tells of its GPU; `undefined` if it has none. */
async function findAdapter(lowPower?: boolean): Promise<AdapterFacts | undefined> {
  const adapter = await requestAdapter(lowPower);
  if (!adapter) return undefined;
  const { vendor, architecture, isFallbackAdapter } = adapter.info;
  return {
    name: nameOf(adapter),
    vendor,
    architecture,
    isFallback: isFallbackAdapter,
    features: [...adapter.features].sort(),
    maxBufferSize: adapter.limits.maxBufferSize,
    maxStorageBufferBindingSize: adapter.limits.maxStorageBufferBindingSize,
  };
}

/** The adapter that the engine asks for, too. */
export async function requestAdapter(lowPower = false): Promise<GPUAdapter | undefined> {
  return (await navigator.gpu?.requestAdapter({ powerPreference: lowPower ? 'low-power' : 'high-performance' })) ?? undefined;
}

/** What the browser calls a GPU; the engine's own library does not say. */
export function nameOf(adapter: GPUAdapter | undefined): string {
  const { description, vendor, architecture } = adapter?.info ?? {};
  return description || [vendor, architecture].filter(Boolean).join(' ') || 'unnamed GPU';
}
