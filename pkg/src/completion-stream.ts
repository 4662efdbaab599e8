import { MobileMoEError } from './errors.js';
import { abortedOnReturn, readable } from './stream.js';

/** A streamed answer: iterate it for its chunks, once. Leaving the loop early aborts it. */
export class CompletionStream<Chunk> implements AsyncIterable<Chunk> {
  /** Aborting it ends the answer within one token; the loop then ends without a finishing chunk. */
  readonly controller: AbortController;
  readonly #chunks: AsyncGenerator<Chunk, void, undefined>;
  #consumed = false;

  /** @internal */
  constructor(chunks: AsyncGenerator<Chunk, void, undefined>, controller: AbortController, leave = () => controller.abort()) {
    this.#chunks = abortedOnReturn(chunks, leave);
    this.controller = controller;
  }

  /** @throws MobileMoEError - "StreamConsumed" the second time. */
  [Symbol.asyncIterator](): AsyncGenerator<Chunk, void, undefined> {
    if (this.#consumed) throw new MobileMoEError('StreamConsumed', 'This stream is being read, or was, already: use tee() to read it twice.');
    this.#consumed = true;
    return this.#chunks;
  }

  /** Two streams that give the same chunks, each at its own pace. The answer is aborted when both were left. */
  tee(): [CompletionStream<Chunk>, CompletionStream<Chunk>] {
    const source = this[Symbol.asyncIterator]();
    const queues: Promise<IteratorResult<Chunk, void>>[][] = [[], []];
    let left = 0;
    const leave = () => {
      if (++left === queues.length) this.controller.abort();
    };
    const half = (own: Promise<IteratorResult<Chunk, void>>[]) => new CompletionStream(chunks(own), this.controller, leave);
    async function* chunks(own: Promise<IteratorResult<Chunk, void>>[]): AsyncGenerator<Chunk, void, undefined> {
      for (;;) {
        if (own.length === 0) {
          const next = source.next();
          next.catch(() => {}); // who reads it hears of it
          for (const queue of queues) queue.push(next);
        }
        const { value, done } = await own.shift()!;
        if (done) return;
        yield value;
      }
    }
    return [half(queues[0]!), half(queues[1]!)];
  }

  /** A line of JSON for each chunk, in UTF-8, as the OpenAI client's streams have it. */
  toReadableStream(): ReadableStream<Uint8Array> {
    return readable(lines(this), () => this.controller.abort());
  }
}

async function* lines(chunks: AsyncIterable<unknown>): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder = new TextEncoder();
  for await (const chunk of chunks) yield encoder.encode(`${JSON.stringify(chunk)}\n`);
}
