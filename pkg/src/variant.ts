/** Which kernels run faster on an adapter is measured when it first loads a model, and remembered in the page's cache. */
import type { KernelVariant } from './types.js';

const CACHE = 'mobilemoe-variants-1'; // another number when kernels change enough to be measured anew

const address = (adapter: string) => `https://variants.invalid/${encodeURIComponent(adapter)}`;

/** What was found on this adapter; `undefined` if nothing was, or the page may not keep anything. */
export async function rememberedVariant(adapter: string): Promise<KernelVariant | undefined> {
  try {
    const found = await (await caches.open(CACHE)).match(address(adapter));
    const variant = (await found?.json()) as KernelVariant | undefined;
    return variant && [variant.decode, variant.prefill].every((style) => style === 'workgroup' || style === 'thread') ? variant : undefined;
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
