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
  #worker: Worker | undefined;
  /** What is to be sent once the worker runs. */
  readonly #waiting: Request[] = [];
  readonly #pending = new Map<number, Pending>();
  #reportLost!: (error: MobileMoEError) => void;
  /** What later calls reject with. */
  #closed: { error: unknown } | undefined;
  #lastId = 0;

  constructor(worker: Promise<Worker>) {
    this.lost = new Promise((resolve) => (this.#reportLost = resolve));
    worker.then(
      (worker) => this.#open(worker),
      (error: unknown) => this.#fail(MobileMoEError.from(error, 'WorkerMissing')),
    );
  }

  #open(worker: Worker): void {
    if (this.#closed) return worker.terminate();
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#receive(data);
    worker.onmessageerror = () => this.#fail(new MobileMoEError('WorkerCrashed', 'A message from the worker could not be read.'));
    worker.onerror = (event) => {
      event.preventDefault();
      const reason = event.message || 'its script could not be loaded';
      this.#fail(new MobileMoEError('WorkerCrashed', `The worker stopped: ${reason}. Load the model again.`));
    };
    for (const request of this.#waiting.splice(0)) worker.postMessage(request);
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
    this.#worker?.terminate();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #send(request: Request): void {
    if (this.#closed) return;
    if (this.#worker) this.#worker.postMessage(request);
    else this.#waiting.push(structuredClone(request));
  }

  #fail(error: MobileMoEError): void {
    if (this.#closed) return;
    this.close(error);
    this.#reportLost(error);
  }

  #receive(reply: Reply): void {
    if ('running' in reply) return;
    if ('fatal' in reply) return this.#fail(new MobileMoEError(reply.fatal.code, reply.fatal.message));
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
