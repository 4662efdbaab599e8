import { reading } from './check.js';
import type { Connection } from './connection.js';
import { MobileMoEError } from './errors.js';
import type { WireEvent, WireGenerate } from './protocol.js';
import { wirePrompt, wireRequest } from './request.js';
import { EventStream, GenerationStream } from './stream.js';
import type { GenerateOptions, Generation, Prompt } from './types.js';

/** Starts a call of `generate`. A bad request rejects, as one that the worker refuses does. */
export function startGenerate(connection: Connection, session: number | undefined, prompt: Prompt, options: GenerateOptions): GenerationStream {
  try {
    const request: WireGenerate = reading(() => ({ ...wireRequest(options), prompt: wirePrompt(prompt), session }));
    const { onPrompt, signal } = options ?? {};
    return new GenerationStream(new EventStream((onEvent, signal) => connection.call('generate', [request], {
      onEvent: (event, taken) => {
        if (!('prompt' in event)) return onEvent(event, taken);
        taken();
        onPrompt?.(event.prompt);
      },
      signal,
    }).catch(refusedInCamelCase), signal ?? undefined));
  } catch (error) {
    return new GenerationStream(new EventStream<WireEvent, Generation[]>(() => Promise.reject(error)));
  }
}

/** The engine names options as OpenAI does. */
function refusedInCamelCase(error: unknown): never {
  const [, name] = (error instanceof MobileMoEError && error.code === 'Option' && /^option (\w+)/.exec(error.message)) || [];
  if (name === undefined) throw error;
  const { code, message } = error as MobileMoEError;
  const param = name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  throw new MobileMoEError(code, message.replace(name, param), { cause: error, param });
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
    return startGenerate(this.#connection, this.#number, prompt, options);
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
