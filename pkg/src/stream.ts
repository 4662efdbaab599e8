import type { MobileMoEError } from './errors.js';
import type { WireEvent } from './protocol.js';
import type { GeneratedToken, Generation } from './types.js';

/**
 * Events of a running call, as they come. It runs whether or not it is iterated; leaving the loop early (`break`,
 * `throw`) aborts it. It can be iterated once.
 */
export class EventStream<Event, Result> implements AsyncIterable<Event> {
  readonly result: Promise<Result>;
  /** Resolves with the first event, or when it ended without one; rejects if it failed before. */
  readonly begun: Promise<unknown>;
  readonly #abort = new AbortController();
  readonly #events: Event[] = [];
  #ended = false;
  #error: MobileMoEError | undefined;
  #wake: (() => void) | undefined;

  constructor(start: (onEvent: (event: Event) => void, signal: AbortSignal) => Promise<Result>, signal?: AbortSignal) {
    const end = (error?: MobileMoEError) => {
      this.#ended = true;
      this.#error = error;
      this.#wake?.();
    };
    const own = this.#abort;
    if (signal?.aborted) own.abort();
    const follow = () => own.abort();
    signal?.addEventListener('abort', follow, { once: true });
    let begin = () => {};
    const first = new Promise<void>((resolve) => (begin = resolve));
    this.result = start((event) => {
      this.#events.push(event);
      this.#wake?.();
      begin();
    }, own.signal).finally(() => signal?.removeEventListener('abort', follow));
    this.begun = Promise.race([first, this.result]);
    this.begun.catch(() => {});
    this.result.then(() => end(), end); // also keeps a failure that only the loop sees from counting as unhandled
  }

  abort(): void {
    this.#abort.abort();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void, undefined> {
    try {
      for (;;) {
        const event = this.#events.shift();
        if (event !== undefined) yield event;
        else if (this.#ended) break;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      if (this.#error) throw this.#error;
    } finally {
      if (!this.#ended) this.abort();
    }
  }
}

/**
 * A running answer: iterate it for its text, piece by piece, or `tokens()` for its tokens; await `result` for how it
 * ended. It runs whether or not it is iterated; leaving the loop early (`break`, `throw`) aborts it. It can be iterated
 * once, in one of the ways.
 */
export class GenerationStream implements AsyncIterable<string> {
  /** The whole answer and how it ended: finish reason, counts, timings. Rejects with a `MobileMoEError` if it failed. */
  readonly result: Promise<Generation>;
  readonly #events: EventStream<WireEvent, Generation[]>;

  /** @internal */
  constructor(events: EventStream<WireEvent, Generation[]>) {
    this.#events = events;
    this.result = events.result.then(([generation]) => generation!);
    this.result.catch(() => {}); // a failure that only the loop sees is not unhandled
  }

  /** Ends the generation within one token; `result` then has finish reason "abort". */
  abort(): void {
    this.#events.abort();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    for await (const event of this.#events) {
      const piece = textOf(event);
      if (piece) yield piece;
    }
  }

  /** Every token as it comes, with what was asked to be reported of it. */
  async *tokens(): AsyncGenerator<GeneratedToken, void, undefined> {
    for await (const event of this.#events) if ('token' in event) yield event.token;
  }

  /** The text's pieces as a stream; cancelling it aborts the generation. */
  toReadableStream(): ReadableStream<string> {
    return readable(this, () => this.abort());
  }
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
