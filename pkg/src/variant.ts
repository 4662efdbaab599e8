/** Which kernels run fastest on an adapter is measured when it first loads a model, and remembered in the page's cache. */
import type { KernelVariant } from './types.js';

const CACHE = 'mobilemoe-variants-3'; // another number when kernels change enough to be measured anew

// By browser too: another version may compile other kernels, or other ones faster.
const address = (adapter: string) => `https://variants.invalid/${encodeURIComponent(`${adapter} ${navigator.userAgent}`)}`;

/** What was found on this adapter, as JSON; `undefined` if nothing was, or the page may not keep anything. */
export async function rememberedVariant(adapter: string): Promise<string | undefined> {
  try {
    return await (await (await caches.open(CACHE)).match(address(adapter)))?.text();
  } catch {
    return undefined;
  }
}

export async function rememberVariant(adapter: string, variant: KernelVariant): Promise<void> {
  try {
    await (await caches.open(CACHE)).put(address(adapter), new Response(JSON.stringify(variant)));
  } catch {
    // Private windows and full disks: it is measured again next time.
  }
}

/**
 * Makes this worker's devices have "subgroups" where the adapter does: the engine's GPU library does not know the feature,
 * so it never asks. What the device then has, the engine finds out by itself.
 */
export function offerSubgroups(): void {
  if (typeof GPUAdapter === 'undefined') return;
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = function (descriptor = {}) {
    const wanted = (['subgroups'] as const).filter((feature) => this.features.has(feature));
    return requestDevice.call(this, { ...descriptor, requiredFeatures: [...(descriptor.requiredFeatures ?? []), ...wanted] });
  };
}
