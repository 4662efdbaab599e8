import * as format from './format.js';

/** Says, before anything is downloaded, whether this browser can run a model. */
export async function capability(): Promise<{ ok: boolean; text: string }> {
  if (!isSecureContext) return { ok: false, text: 'WebGPU needs a secure page: open it over https or from localhost.' };
  if (!navigator.gpu) {
    return { ok: false, text: 'This browser has no WebGPU. Chrome or Edge 121, Safari 26 or Firefox 141 and later have it.' };
  }
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) return { ok: false, text: 'WebGPU is there, but it offers no GPU on this device.' };
  const { description, vendor, architecture } = adapter.info;
  const name = description || [vendor, architecture].filter(Boolean).join(' ') || 'unnamed GPU';
  return { ok: true, text: `GPU: ${name}, buffers up to ${format.bytes(adapter.limits.maxBufferSize)}` };
}
