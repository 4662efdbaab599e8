import { MobileMoEError } from './errors.js';
import type { WireEvent } from './protocol.js';
import type { GeneratedToken, Generation } from './types.js';

/**
 * Events of a running call, as they come. Read ahead of a little, it waits for its reader: the engine generates no more than
 * that for a loop that stands still. Leaving the loop early (`break`, `throw`) aborts it. It can be iterated once.
 */
export class EventStream<Event, Result> {
  /** Resolves with the first event, or when it ended without one; rejects if it failed before. */
  readonly begun: Promise<unknown>;
  readonly #result: Promise<Result>;
  readonly #abort = new AbortController();
  readonly #events: { event: Event; taken: () => void }[] = [];
  #consumed = false;
  /** The whole result is wanted: nothing waits for a reader. */
  #unread = false;
  #ended = false;
  #error: unknown;
  #failed = false;
  #wake: (() => void) | undefined;

  /** `taken` is called for each event once it was read. */
  constructor(start: (onEvent: (event: Event, taken: () => void) => void, signal: AbortSignal) => Promise<Result>, signal?: AbortSignal) {
    const own = this.#abort;
    if (signal?.aborted) own.abort();
    const follow = () => own.abort();
    signal?.addEventListener('abort', follow, { once: true });
    let begin = () => {};
    const first = new Promise<void>((resolve) => (begin = resolve));
    this.#result = start((event, taken) => {
      if (this.#unread) taken();
      this.#events.push({ event, taken: this.#unread ? () => {} : taken });
      this.#wake?.();
      begin();
    }, own.signal).finally(() => signal?.removeEventListener('abort', follow));
    this.begun = Promise.race([first, this.#result]);
    this.begun.catch(() => {});
    const end = () => {
      this.#ended = true;
      this.#wake?.();
    };
    // Also keeps a failure that only the loop sees from counting as unhandled.
    this.#result.then(end, (error: unknown) => {
      this.#failed = true;
      this.#error = error;
      end();
    });
  }

  /** Asking for it lets the call run to its end, whether or not its events are read. */
  get result(): Promise<Result> {
    this.#unread = true;
    for (const entry of this.#events) {
      entry.taken();
      entry.taken = () => {};
    }
    return this.#result;
  }

  abort(): void {
    this.#abort.abort();
  }

  /** @throws MobileMoEError - "StreamConsumed" the second time. */
  [Symbol.asyncIterator](): AsyncGenerator<Event, void, undefined> {
    if (this.#consumed) throw new MobileMoEError('StreamConsumed', 'This stream is being read, or was, already: each answer can be iterated once.');
    this.#consumed = true;
    return abortedOnReturn(this.#read(), () => this.#ended || this.abort());
  }

  async *#read(): AsyncGenerator<Event, void, undefined> {
    for (;;) {
      const entry = this.#events.shift();
      if (entry) {
        entry.taken();
        yield entry.event;
      } else if (this.#ended) break;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    if (this.#failed) throw this.#error;
  }
}

/**
 * The generator, with `abort` called when it is left. A generator's own `finally` does not run when it is left before its
 * first step, and waits for a step that is under way.
 */
export function abortedOnReturn<T>(generator: AsyncGenerator<T, void, undefined>, abort: () => void): AsyncGenerator<T, void, undefined> {
  return {
    next: () => generator.next(),
    return(value) {
      abort();
      return generator.return(value);
    },
    throw(error) {
      abort();
      return generator.throw(error);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      await this.return();
    },
  };
}

/**
 * A running answer: iterate it for its text, piece by piece, or `tokens()` for its tokens; await `result` for how it
 * ended. Where it is only iterated, it runs no further ahead than about a hundred tokens; once `result` was asked for, it runs to its
 * end. Leaving the loop early (`break`, `throw`) aborts it. It can be iterated once, in one of the ways.
 */
export class GenerationStream implements AsyncIterable<string> {
  readonly #events: EventStream<WireEvent, Generation[]>;

  /** @internal */
  constructor(events: EventStream<WireEvent, Generation[]>) {
    this.#events = events;
  }

  /**
   * The whole answer and how it ended: finish reason, counts, timings. An abort is an ordinary end: finish reason "abort".
   * Rejects with a `MobileMoEError` if it failed.
   */
  get result(): Promise<Generation> {
    const result = this.#events.result.then(([generation]) => generation!);
    result.catch(() => {}); // a failure that only the loop sees is not unhandled
    return result;
  }

  /** Ends the generation within one token; `result` then has finish reason "abort". */
  abort(): void {
    this.#events.abort();
  }

  [Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    return this.#left(pieces(this.#events[Symbol.asyncIterator]()));
  }

  /** Every token as it comes, with what was asked to be reported of it. */
  tokens(): AsyncGenerator<GeneratedToken, void, undefined> {
    return this.#left(tokens(this.#events[Symbol.asyncIterator]()));
  }

  /** The text's pieces as a stream; cancelling it aborts the generation. */
  toReadableStream(): ReadableStream<string> {
    return readable(this, () => this.abort());
  }

  #left<T>(generator: AsyncGenerator<T, void, undefined>): AsyncGenerator<T, void, undefined> {
    return abortedOnReturn(generator, () => this.abort());
  }
}

async function* pieces(events: AsyncIterable<WireEvent>): AsyncGenerator<string, void, undefined> {
  for await (const event of events) {
    const piece = textOf(event);
    if (piece) yield piece;
  }
}

async function* tokens(events: AsyncIterable<WireEvent>): AsyncGenerator<GeneratedToken, void, undefined> {
  for await (const event of events) if ('token' in event) yield event.token;
}

/** The text that an event brings. */
export function textOf(event: WireEvent): string {
  if ('token' in event) return event.token.text;
  return 'rest' in event ? event.rest : '';
}

/** What an iterable gives, as a stream; cancelling it aborts at once what is under way, and leaves the loop. */
export function readable<T>(source: AsyncIterable<T>, abort: () => void): ReadableStream<T> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream<T>({
    async pull(controller) {
      const { value, done } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      abort();
      await iterator.return?.();
    },
  }, { highWaterMark: 0 });
}
