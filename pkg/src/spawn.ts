/**
 * How the engine's worker and its WASM modules are found, wherever the package was put. Beside this module lie `worker.js` and
 * `../wasm/`: most bundlers see the addresses below and bring the files along. Where one does not, or the browser refuses the
 * worker's address (another origin), the worker is made of its own source, and the modules come from a chunk that is imported
 * only then.
 */
import { Connection } from './connection.js';
import { abortReason, MobileMoEError } from './errors.js';
import type { WireModules } from './protocol.js';
import { absolute } from './source.js';

/** Where the parts of the package are, for a page that keeps them elsewhere. */
export interface EngineFiles {
  /** A worker that runs `mobilemoe-web/worker`, or a function that makes one. It is the engine's own, and ended with it. */
  worker?: Worker | (() => Worker);
  /** The address of the package's `dist/worker.js`; any origin that allows the page by CORS. */
  workerUrl?: string | URL;
  /** The address of the package's `wasm/mobilemoe_web_bg.wasm`; `mobilemoe_constrain_bg.wasm` is looked for beside it. */
  wasmUrl?: string | URL;
}

// Written out as bundlers recognise it. Not inside of `new Worker(...)`: the script is whole, so it is copied, not bundled again.
const WORKER = () => new URL('./worker.js', import.meta.url);
const ENGINE = () => new URL('../wasm/mobilemoe_web_bg.wasm', import.meta.url);
const CONSTRAIN = () => new URL('../wasm/mobilemoe_constrain_bg.wasm', import.meta.url);

const OPTIONS: WorkerOptions = { type: 'module', name: 'mobilemoe' };

/** A worker that has begun to run. */
export async function spawn({ worker, workerUrl }: EngineFiles): Promise<Worker> {
  if (worker) {
    const given = typeof worker === 'function' ? worker() : worker;
    if (typeof given?.postMessage !== 'function') throw new MobileMoEError('BadOptions', 'options: `worker` must be a Worker, or a function that makes one');
    return given;
  }
  if (typeof Worker === 'undefined') throw new MobileMoEError('NoWebGpu', 'There are no workers here: the engine runs in browsers.');
  const address = workerUrl === undefined ? WORKER() : absolute(workerUrl);
  const policy = watchPolicy();
  try {
    try {
      return await begun(address);
    } catch (first) {
      const source = await ownSource().catch(() => {
        throw first;
      });
      return await begun(source, first instanceof Error ? first.message : String(first));
    }
  } catch (error) {
    throw policy.blocked() ?? MobileMoEError.from(error, 'WorkerMissing');
  } finally {
    policy.end();
  }
}

/** The worker's source as an address of this page's own origin. */
async function ownSource(): Promise<URL> {
  const { default: source } = await import('./worker-source.js');
  return new URL(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
}

/** Starts a worker and waits for its first word; fails where its script cannot be loaded. */
function begun(address: URL, before?: string): Promise<Worker> {
  return new Promise((resolve, reject) => {
    const refused = (reason: string) =>
      reject(
        new MobileMoEError(
          'WorkerMissing',
          `The engine's worker cannot be started from ${address.href}: ${reason}${before ? ` (before: ${before})` : ''}. ` +
            'Serve dist/worker.js of mobilemoe-web and pass its address as `workerUrl`, or pass a `worker`.',
        ),
      );
    let worker: Worker;
    try {
      worker = new Worker(trusted(address), OPTIONS);
    } catch (error) {
      return refused(error instanceof Error ? error.message : String(error));
    }
    const settle = () => {
      worker.onmessage = worker.onerror = null;
      if (address.protocol === 'blob:') URL.revokeObjectURL(address.href);
    };
    worker.onmessage = () => (settle(), resolve(worker));
    worker.onerror = (event) => {
      event.preventDefault();
      settle();
      worker.terminate();
      refused(event.message || (navigator.onLine ? 'its script could not be loaded' : 'this device is offline'));
    };
  });
}

/** Under `require-trusted-types-for 'script'` a page allows the policy "mobilemoe-web". */
function trusted(address: URL): URL {
  const { trustedTypes } = globalThis as { trustedTypes?: { createPolicy(name: string, rules: object): { createScriptURL(url: string): URL } } };
  if (!trustedTypes) return address;
  policy ??= trustedTypes.createPolicy('mobilemoe-web', { createScriptURL: (url: string) => url });
  return policy.createScriptURL(address.href);
}
let policy: { createScriptURL(url: string): URL } | undefined;

/** Whether a Content-Security-Policy has blocked a worker meanwhile. */
function watchPolicy(): { blocked(): MobileMoEError | undefined; end(): void } {
  let directive: string | undefined;
  const hear = (event: SecurityPolicyViolationEvent) => {
    if (/^(worker|child|script|default)-src/.test(event.effectiveDirective)) directive = event.effectiveDirective;
  };
  globalThis.document?.addEventListener('securitypolicyviolation', hear);
  return {
    blocked: () =>
      directive === undefined
        ? undefined
        : new MobileMoEError(
            'WorkerMissing',
            `The page's Content-Security-Policy (${directive}) blocks the engine's worker: allow it by \`worker-src 'self'\`, ` +
              'or `worker-src blob:` where the package comes from another origin.',
          ),
    end: () => globalThis.document?.removeEventListener('securitypolicyviolation', hear),
  };
}

/** Starts the engine's WASM module in the worker. */
export async function startModules(connection: Connection, { wasmUrl }: EngineFiles): Promise<void> {
  const given = wasmUrl === undefined ? undefined : absolute(wasmUrl);
  const modules: WireModules = given
    ? { engine: given.href, constrain: new URL('mobilemoe_constrain_bg.wasm', given).href }
    : { engine: ENGINE().href, constrain: CONSTRAIN().href };
  try {
    await connection.call('start', [modules]);
  } catch (error) {
    if (given || !(error instanceof MobileMoEError) || error.code !== 'ModuleMissing') throw error;
    const standIns = Promise.all([import('./engine-wasm.js'), import('./constrain-wasm.js')]);
    const [engine, constrain] = await standIns.catch(() => {
      throw error; // what was wrong with the file says more than that its stand-in is missing, too
    });
    await connection.call('start', [{ engine: bytesOf(engine.default), constrain: bytesOf(constrain.default) }]);
  }
}

function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** Asks a worker that is there for these calls alone. */
export async function inWorker<T>(files: EngineFiles, signal: AbortSignal | undefined, use: (connection: Connection) => Promise<T>): Promise<T> {
  if (signal?.aborted) throw abortReason(signal);
  const connection = new Connection(spawn(files));
  const abort = () => connection.close(abortReason(signal!));
  signal?.addEventListener('abort', abort);
  try {
    await startModules(connection, files);
    return await use(connection);
  } finally {
    signal?.removeEventListener('abort', abort);
    connection.close(new MobileMoEError('Disposed', 'The call is over.'));
  }
}
