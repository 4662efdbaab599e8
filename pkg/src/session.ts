import type { Connection } from './connection.js';
import { MobileMoEError } from './errors.js';
import type { WireEvent, WireGenerate } from './protocol.js';
import { wireOptions, wirePrompt, wireSeed } from './request.js';
import { wireFormat } from './response-format.js';
import { EventStream, GenerationStream } from './stream.js';
import type { GenerateOptions, Generation, Prompt } from './types.js';

/** Starts a call of `generate`. */
export function startGenerate(
  connection: Connection,
  request: () => WireGenerate,
  { onPrompt, signal }: GenerateOptions,
): EventStream<WireEvent, Generation[]> {
  // A bad request rejects, as one that the worker refuses does.
  return new EventStream(async (onEvent, signal) => connection.call('generate', [request()], {
    onEvent: (event) => ('prompt' in event ? onPrompt?.(event.prompt) : onEvent(event)),
    signal,
  }), signal);
}

/**
 * A conversation with a KV cache of its own on the GPU. Give `generate` the whole conversation each time: the part that
 * it shares with what the cache holds, from the first token on, is not computed again.
 *
 * The cache begins with room for 256 tokens and doubles as the conversation grows, `facts.kvBytesPerToken` each; `dispose`
 * frees it. Calls on one session are served one after another, calls on several take turns token by token.
 */
export class Session {
  readonly #connection: Connection;
  readonly #number: number;

  /** @internal */
  constructor(connection: Connection, number: number) {
    this.#connection = connection;
    this.#number = number;
  }

  /** @internal */
  get number(): number {
    return this.#number;
  }

  /** Answers a conversation, continues a text, or continues token ids (which needs no tokenizer). */
  generate(prompt: Prompt, options: GenerateOptions = {}): GenerationStream {
    const request = () => ({
      prompt: wirePrompt(prompt),
      session: this.#number,
      choices: 1,
      seed: wireSeed(options.seed),
      options: wireOptions(options),
      format: wireFormat(options.responseFormat),
    });
    return new GenerationStream(startGenerate(this.#connection, request, options));
  }

  /** A session that goes on from where this one is, with a copy of its cache made on the GPU. Waits for what runs here. */
  async fork(): Promise<Session> {
    return new Session(this.#connection, await this.#connection.call('forkSession', [this.#number]));
  }

  /** Frees the cache, once what runs here is done. Later calls on this session reject with code "Disposed". */
  async dispose(): Promise<void> {
    try {
      await this.#connection.call('freeSession', [this.#number]);
    } catch (thrown) {
      // It was gone already, alone or with its engine.
      if (MobileMoEError.from(thrown).code !== 'Disposed') throw thrown;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
