import { MobileMoEError } from './errors.js';

/** Fetches and starts a WASM module; a failure is typed, and may be tried again. */
export async function start(init: () => Promise<unknown>, purpose: string): Promise<void> {
  try {
    await init();
  } catch (error) {
    const { message } = MobileMoEError.from(error);
    const policy = error instanceof WebAssembly.CompileError ? " (a Content-Security-Policy must allow 'wasm-unsafe-eval')" : '';
    throw new MobileMoEError('ModuleMissing', `The WASM module ${purpose} cannot be loaded${policy}: ${message}`);
  }
}
