import type { BenchmarkOptions, BenchmarkReport } from './benchmark.js';
import { Connection } from './connection.js';
import { MobileMoEError } from './errors.js';
import type { Facts } from './facts.js';
import { ProgressMeter } from './progress.js';
import type { WireSampling, WireText } from './protocol.js';
import { wireSource, type Source } from './source.js';
import { GenerationStream } from './stream.js';
import type {
  ChatMessage,
  Generation,
  LoadOptions,
  LogitsTrace,
  SamplingOptions,
  Score,
  TextGeneration,
  TextOptions,
} from './types.js';

/** A running answer in text pieces. */
export type TextStream = GenerationStream<string, TextGeneration>;
/** A running answer in token ids. */
export type TokenStream = GenerationStream<number, Generation>;

/**
 * A MobileMoE checkpoint on the GPU, ready to answer. Everything heavy runs in a worker of its own; calls made while
 * another is running wait their turn, in order.
 *
 * ```ts
 * const engine = await MobileMoE.load('/models/MobileMoE-S-QAT/');
 * for await (const piece of engine.chat([{ role: 'user', content: 'Name one JVM language.' }])) write(piece);
 * ```
 */
export class MobileMoE {
  /** What was loaded and where it runs: model sizes, adapter, bytes on the GPU, context length. */
  readonly facts: Facts;
  /**
   * Resolves, with the reason, if the engine dies by itself: a lost GPU device (code "DeviceLost"), a crashed worker
   * ("WorkerCrashed"). Every pending call has then been rejected with the same error; load again to go on.
   */
  readonly lost: Promise<MobileMoEError>;
  readonly #connection: Connection;

  private constructor(connection: Connection, facts: Facts) {
    this.#connection = connection;
    this.facts = facts;
    this.lost = connection.lost;
  }

  /**
   * Opens a checkpoint and streams its weights to the GPU.
   *
   * @throws MobileMoEError - "NoWebGpu", "NoAdapter" (this browser or device cannot run it), "AccessDenied" (the
   * message says how to get access), "HttpStatus", "HttpConnection" and other "Http..." codes (the server),
   * "MissingFile", "MissingTensor" and others (the checkpoint), "Aborted".
   */
  static async load(source: Source, options: LoadOptions = {}): Promise<MobileMoE> {
    const { onProgress, signal, contextLength, kv, chunkTokens } = options;
    const aborted = () => new MobileMoEError('Aborted', 'Loading was aborted.');
    if (signal?.aborted) throw aborted();
    const from = wireSource(source, options);
    const meter = new ProgressMeter(onProgress);
    const connection = new Connection();
    // The worker is the load's own: ending it ends every request and frees what is on the GPU, at any moment.
    const abort = () => connection.close(aborted());
    signal?.addEventListener('abort', abort);
    try {
      const wire = {
        ...(contextLength !== undefined && { contextLength }),
        ...(kv !== undefined && { kv }),
        ...(chunkTokens !== undefined && { chunkTokens }),
      };
      const onEvent = meter.update.bind(meter);
      return new MobileMoE(connection, await connection.call('load', [from, wire], { onEvent }));
    } catch (thrown) {
      const error = MobileMoEError.from(thrown);
      connection.close(error);
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /**
   * Answers a conversation, rendered by the checkpoint's own chat template. What the KV cache still holds from the turn
   * before is not computed again.
   */
  chat(messages: readonly ChatMessage[], options: TextOptions = {}): TextStream {
    const args: [readonly ChatMessage[], WireText] = [messages, wireText(options)];
    return new GenerationStream(
      (onEvent, signal) => this.#connection.call('chat', args, { onEvent, signal }),
      options.signal,
    );
  }

  /** Continues a text (begin-of-text is put before it). */
  complete(prompt: string, options: TextOptions = {}): TextStream {
    const args: [string, WireText] = [prompt, wireText(options)];
    return new GenerationStream(
      (onEvent, signal) => this.#connection.call('complete', args, { onEvent, signal }),
      options.signal,
    );
  }

  /** Continues token ids; needs no tokenizer. Ends at the checkpoint's end tokens. */
  generateTokens(ids: ArrayLike<number>, options: SamplingOptions = {}): TokenStream {
    return new GenerationStream(
      async (onEvent, signal) =>
        this.#connection.call('generateTokens', [tokenIds(ids), wireSampling(options)], { onEvent, signal }),
      options.signal,
    );
  }

  /**
   * Text to ids. `addSpecialTokens` (default false) puts begin-of-text first, as the tokenizer's own rules say.
   * `parseSpecialTokens` (default false) turns a spelled `<|eot|>` into its id; leave it off for text from outside.
   */
  tokenize(text: string, options: { addSpecialTokens?: boolean; parseSpecialTokens?: boolean } = {}): Promise<Uint32Array> {
    return this.#connection.call('tokenize', [text, options.addSpecialTokens ?? false, options.parseSpecialTokens ?? false]);
  }

  /** Ids to text. `skipSpecialTokens` (default false) leaves out `<|eot|>` and the like. */
  async detokenize(ids: ArrayLike<number>, options: { skipSpecialTokens?: boolean } = {}): Promise<string> {
    return this.#connection.call('detokenize', [tokenIds(ids), options.skipSpecialTokens ?? false]);
  }

  /** A conversation as the checkpoint's template renders it. `addGenerationPrompt` (default true) opens the answer. */
  applyChatTemplate(messages: readonly ChatMessage[], options: { addGenerationPrompt?: boolean } = {}): Promise<string> {
    return this.#connection.call('applyChatTemplate', [messages, options.addGenerationPrompt ?? true]);
  }

  /** The ids that `chat` feeds the model: as `applyChatTemplate`, but a special token spelled in a message stays text. */
  tokenizeChat(messages: readonly ChatMessage[], options: { addGenerationPrompt?: boolean } = {}): Promise<Uint32Array> {
    return this.#connection.call('tokenizeChat', [messages, options.addGenerationPrompt ?? true]);
  }

  /** Logits after the last id, or after every id with `allPositions`, and the experts each token was routed to. */
  async logits(ids: ArrayLike<number>, options: { allPositions?: boolean } = {}): Promise<LogitsTrace> {
    return this.#connection.call('logits', [tokenIds(ids), options.allPositions ?? false]);
  }

  /** How likely the model finds a continuation, id by id. The context must hold at least one id. */
  async score(context: ArrayLike<number>, continuation: ArrayLike<number>): Promise<Score> {
    return this.#connection.call('score', [tokenIds(context), tokenIds(continuation)]);
  }

  /**
   * Measures how fast the loaded model runs on this device: prefill by prompt length, decode by context, time by kernel.
   * Takes minutes with the default options on a slow device; other calls wait. What a chat left in the cache is dropped.
   */
  benchmark(options: BenchmarkOptions = {}): Promise<BenchmarkReport> {
    const { onProgress, signal, ...wire } = options;
    return this.#connection.call('benchmark', [wire], { onEvent: onProgress, signal });
  }

  /** Ends the worker and frees the GPU memory. What is pending rejects with code "Disposed". */
  dispose(): void {
    this.#connection.close(new MobileMoEError('Disposed', 'This engine was disposed of.'));
  }
}

function wireSampling({ maxTokens, temperature, topK, topP, minP, seed }: SamplingOptions): WireSampling {
  const given = Object.entries({ maxTokens, temperature, topK, topP, minP, seed }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given);
}

function wireText(options: TextOptions): WireText {
  const stop = typeof options.stop === 'string' ? [options.stop] : [...(options.stop ?? [])];
  return { ...wireSampling(options), stop };
}

/** Ids as the engine takes them; a value that is no 32-bit id is refused here, where a typed array would wrap it. */
function tokenIds(ids: ArrayLike<number>): Uint32Array {
  const out = Uint32Array.from(ids);
  for (let i = 0; i < ids.length; i++) {
    if (out[i] !== ids[i]) throw new MobileMoEError('TokenOutOfRange', `ids[${i}] is ${ids[i]}; expected a token id`);
  }
  return out;
}
