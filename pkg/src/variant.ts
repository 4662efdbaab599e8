/** Which kernels run fastest on an adapter is measured there, and remembered in the page's cache. */

const CACHES = 'mobilemoe-variants-';
const CACHE = `${CACHES}4`; // another number when kernels change enough to be measured anew

/** What was kept for an adapter: the engine's own text, and the browser that it was measured in. */
interface Kept {
  browser: string;
  found: string;
}

/**
 * All that a browser tells of an adapter: two that differ in anything do not share what was measured. Many browsers tell no
 * names, but then features and limits.
 */
export function identityOf({ info, features, limits }: Pick<GPUAdapter, 'info' | 'features' | 'limits'>): string {
  return JSON.stringify([told(info), [...features].sort(), told(limits)]);
}

/** What was found on the adapter of this identity in this browser; `undefined` if nothing was, or the page may not keep anything. */
export async function remembered(identity: string): Promise<string | undefined> {
  try {
    const kept = (await (await (await caches.open(CACHE)).match(await address(identity)))?.json()) as Kept | undefined;
    return kept?.browser === (await browser()) ? kept.found : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps it. What another version of the browser found, or of this package, is thrown away: it may compile other kernels now. */
export async function remember(identity: string, found: string): Promise<void> {
  try {
    for (const name of await caches.keys()) if (name.startsWith(CACHES) && name !== CACHE) await caches.delete(name);
    const cache = await caches.open(CACHE);
    const kept: Kept = { browser: await browser(), found };
    for (const request of await cache.keys()) {
      const other = (await (await cache.match(request))?.json().catch(() => undefined)) as Kept | undefined;
      if (other?.browser !== kept.browser) await cache.delete(request);
    }
    await cache.put(await address(identity), new Response(JSON.stringify(kept)));
  } catch {
    // Private windows and full disks: it is measured again next time.
  }
}

/** A key for a cache is an address: short, whatever the identity. */
async function address(identity: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(identity)));
  return `https://variants.invalid/${Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** The browser with its full version, which Chromium leaves out of its user agent. */
async function browser(): Promise<string> {
  const data = (navigator as { userAgentData?: { getHighEntropyValues?(hints: string[]): Promise<object> } }).userAgentData;
  const versions = await data?.getHighEntropyValues?.(['fullVersionList', 'platformVersion']).catch(() => undefined);
  return JSON.stringify([navigator.userAgent, versions]);
}

/** The plain values of an object of the browser's, whose properties are getters of its class. */
function told(object: object): [name: string, value: unknown][] {
  const names = new Set<string>();
  for (let level = object; level && level !== Object.prototype; level = Object.getPrototypeOf(level)) {
    for (const name of Object.getOwnPropertyNames(level)) names.add(name);
  }
  const values = [...names].sort().map((name): [string, unknown] => [name, (object as Record<string, unknown>)[name]]);
  return values.filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value));
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
