import { MobileMoEError } from './errors.js';

/** A WASM module: its address, or its bytes in gzip. */
export type WasmSource = string | Uint8Array;

/** Fetches and starts a WASM module; a failure is typed, and may be tried again. */
export async function start(init: (module: { module_or_path: Promise<Response> }) => Promise<unknown>, source: WasmSource, purpose: string): Promise<void> {
  const failed = (code: string, reason: string) => new MobileMoEError(code, `The WASM module ${purpose} cannot be loaded: ${reason}`);
  const response = typeof source === 'string' ? await fetched(source, (reason) => failed('ModuleMissing', reason)) : unpacked(source);
  try {
    await init({ module_or_path: Promise.resolve(response) });
  } catch (error) {
    const { message } = MobileMoEError.from(error);
    const isPolicy = /content.security.policy|unsafe-eval|csp/i.test(message);
    if (isPolicy) throw failed('ModuleBlocked', `the page's Content-Security-Policy must allow 'wasm-unsafe-eval' in script-src (${message})`);
    throw failed('ModuleMissing', message);
  }
}

async function fetched(address: string, failed: (reason: string) => MobileMoEError): Promise<Response> {
  const response = await fetch(address).catch((error: unknown) => {
    const reason = navigator.onLine ? `${error}; a server of another origin must allow this page (CORS)` : 'this device is offline';
    throw failed(`${address}: ${reason}`);
  });
  if (!response.ok) throw failed(`${address}: HTTP ${response.status}`);
  if (response.headers.get('content-type')?.startsWith('text/html')) throw failed(`${address}: the server sent an HTML page`);
  return response;
}

function unpacked(gzip: Uint8Array): Response {
  const stream = new Blob([gzip as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream, { headers: { 'content-type': 'application/wasm' } });
}
