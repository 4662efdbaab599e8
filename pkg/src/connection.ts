import { abortReason, MobileMoEError } from './errors.js';
import { TOLD_AT_ONCE } from './flow.js';
import type { Call, Calls, Method, Reply, Request } from './protocol.js';
import { plain } from './request.js';

interface Pending {
  onEvent: ((event: never, taken: () => void) => void) | undefined;
  resolve: (result: never) => void;
  reject: (error: unknown) => void;
  /** Events that were taken and not yet told of. */
  taken: number;
}

export interface CallOptions<M extends Method> {
  /** `taken` is to be called once the event was read: a generation does not run far ahead of that. */
  onEvent?: ((event: Calls[M]['event'], taken: () => void) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** The page's end of a worker: calls in, events and one answer out. Every call settles, whatever becomes of the worker. */
export class Connection {
  /** Resolves when the worker can serve nothing more and the caller did not ask for that. */
  readonly lost: Promise<MobileMoEError>;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #reportLost!: (error: MobileMoEError) => void;
  /** What later calls reject with. */
  #closed: { error: unknown } | undefined;
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
      if (this.#closed) return reject(this.#closed.error);
      const abort = () => this.#send({ abort: id });
      const settled = () => signal?.removeEventListener('abort', abort);
      this.#pending.set(id, {
        onEvent: options.onEvent as Pending['onEvent'],
        resolve: (result) => (settled(), resolve(result)),
        reject: (error) => (settled(), reject(isAborted(error) && signal?.aborted ? abortReason(signal) : error)),
        taken: 0,
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

  /** Aborts every call that can be aborted. */
  interrupt(): void {
    for (const id of this.#pending.keys()) this.#send({ abort: id });
  }

  /** Ends the worker; what is pending rejects with `error`. */
  close(error: unknown): void {
    if (this.#closed) return;
    this.#closed = { error };
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
    if ('event' in reply) return call.onEvent?.(reply.event as never, () => this.#taken(reply.id));
    this.#pending.delete(reply.id);
    if ('error' in reply) call.reject(new MobileMoEError(reply.error.code, reply.error.message));
    else call.resolve(reply.result as never);
  }

  #taken(id: number): void {
    const call = this.#pending.get(id);
    if (!call || ++call.taken < TOLD_AT_ONCE) return;
    this.#send({ taken: id, events: call.taken });
    call.taken = 0;
  }
}

function isAborted(error: unknown): boolean {
  return error instanceof MobileMoEError && error.code === 'Aborted';
}
