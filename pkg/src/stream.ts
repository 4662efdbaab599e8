import type { MobileMoEError } from './errors.js';

/**
 * A running generation: iterate it for the pieces as they come, await `result` for how it ended. It runs whether or not
 * it is iterated; leaving the loop early (`break`, `throw`) aborts it. It can be iterated once.
 */
export class GenerationStream<Piece, Result> implements AsyncIterable<Piece> {
  /** How it ended: finish reason, counts, timings. Rejects with a `MobileMoEError` if it failed. */
  readonly result: Promise<Result>;
  readonly #abort = new AbortController();
  readonly #pieces: Piece[] = [];
  #ended = false;
  #error: MobileMoEError | undefined;
  #wake: (() => void) | undefined;

  /** @internal */
  constructor(start: (onPiece: (piece: Piece) => void, signal: AbortSignal) => Promise<Result>, signal?: AbortSignal) {
    const end = (error?: MobileMoEError) => {
      this.#ended = true;
      this.#error = error;
      this.#wake?.();
    };
    const own = this.#abort;
    if (signal?.aborted) own.abort();
    const follow = () => own.abort();
    signal?.addEventListener('abort', follow, { once: true });
    this.result = start((piece) => {
      this.#pieces.push(piece);
      this.#wake?.();
    }, own.signal).finally(() => signal?.removeEventListener('abort', follow));
    this.result.then(() => end(), end); // also keeps a failure that only the loop sees from counting as unhandled
  }

  /** Ends the generation within one token; `result` then has finish reason "abort". */
  abort(): void {
    this.#abort.abort();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Piece, void, undefined> {
    try {
      for (;;) {
        const piece = this.#pieces.shift();
        if (piece !== undefined) yield piece;
        else if (this.#ended) break;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      if (this.#error) throw this.#error;
    } finally {
      if (!this.#ended) this.abort();
    }
  }
}
