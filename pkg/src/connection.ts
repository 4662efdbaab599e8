import { MobileMoEError } from './errors.js';
import type { Call, Calls, Method, Reply, Request } from './protocol.js';
import { plain } from './request.js';

interface Pending {
  onEvent: ((event: never) => void) | undefined;
  resolve: (result: never) => void;
  reject: (error: MobileMoEError) => void;
}

export interface CallOptions<M extends Method> {
  onEvent?: ((event: Calls[M]['event']) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** The page's end of a worker: calls in, events and one answer out. Every call settles, whatever becomes of the worker. */
export class Connection {
  /** Resolves when the worker can serve nothing more and the caller did not ask for that. */
  readonly lost: Promise<MobileMoEError>;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #reportLost!: (error: MobileMoEError) => void;
  #closed: MobileMoEError | undefined;
  #lastId = 0;

  constructor() {
    this.lost = new Promise((resolve) => (this.#reportLost = resolve));
    if (typeof Worker === 'undefined') throw new MobileMoEError('NoWebGpu', 'There are no workers here: the engine runs in browsers.');
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'mobilemoe' });
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#receive(data);
    this.#worker.onmessageerror = () => this.#fail('WorkerCrashed', 'A message from the worker could not be read.');
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail('WorkerCrashed', `The worker stopped: ${event.message || 'its script could not be loaded'}. Reload the page.`);
    };
  }

  call<M extends Method>(method: M, args: Calls[M]['args'], options: CallOptions<M> = {}): Promise<Calls[M]['result']> {
    const id = ++this.#lastId;
    const { signal } = options;
    return new Promise<Calls[M]['result']>((resolve, reject) => {
      if (this.#closed) return reject(this.#closed);
      const abort = () => this.#send({ abort: id });
      const settled = () => signal?.removeEventListener('abort', abort);
      this.#pending.set(id, {
        onEvent: options.onEvent as Pending['onEvent'],
        resolve: (result) => (settled(), resolve(result)),
        reject: (error) => (settled(), reject(error)),
      });
      try {
        this.#send({ id, method, args: plain(args), aborted: signal?.aborted ?? false } as Call);
      } catch (error) {
        this.#pending.delete(id);
        return reject(new MobileMoEError('BadOptions', `The arguments cannot be sent to the worker: ${error}`));
      }
      signal?.addEventListener('abort', abort);
    });
  }

  /** Ends the worker; what is pending rejects with `error`. */
  close(error: MobileMoEError): void {
    if (this.#closed) return;
    this.#closed = error;
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #send(request: Request): void {
    if (!this.#closed) this.#worker.postMessage(request);
  }

  #fail(code: string, message: string): void {
    if (this.#closed) return;
    const error = new MobileMoEError(code, message);
    this.close(error);
    this.#reportLost(error);
  }

  #receive(reply: Reply): void {
    if ('fatal' in reply) return this.#fail(reply.fatal.code, reply.fatal.message);
    const call = this.#pending.get(reply.id);
    if (!call) return;
    if ('event' in reply) return call.onEvent?.(reply.event as never);
    this.#pending.delete(reply.id);
    if ('error' in reply) call.reject(new MobileMoEError(reply.error.code, reply.error.message));
    else call.resolve(reply.result as never);
  }
}
