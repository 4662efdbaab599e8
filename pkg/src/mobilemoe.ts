import type { BenchmarkOptions, BenchmarkReport } from './benchmark.js';
import { ChatCompletions, Completions } from './completions.js';
import { Connection } from './connection.js';
import { MobileMoEError } from './errors.js';
import type { Facts } from './facts.js';
import { ProgressMeter } from './progress.js';
import type { WireLoadOptions } from './protocol.js';
import { given, tokenIds, wireOptions, wirePrompt, wireSeed } from './request.js';
import { wireFormat } from './response-format.js';
import { Session, startGenerate } from './session.js';
import { wireSource, type Source } from './source.js';
import { GenerationStream } from './stream.js';
import type { Capability, ChatMessage, GenerateOptions, LoadOptions, LogitsTrace, Prompt, Score } from './types.js';

/**
 * A MobileMoE checkpoint on the GPU, ready to answer. Everything heavy runs in a worker of its own. Calls run side by
 * side: generations take turns token by token, at most four at a time, the others wait in the order they came; whatever is
 * short comes in between.
 *
 * ```ts
 * const engine = await MobileMoE.load('/models/MobileMoE-S-QAT/');
 * const messages = [{ role: 'user' as const, content: 'Name one JVM language.' }];
 * for await (const piece of engine.generate(messages)) write(piece);
 * // or, as with the OpenAI client:
 * const completion = await engine.chat.completions.create({ messages });
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
  /** `chat.completions.create`, as the OpenAI client has it. */
  readonly chat: { readonly completions: ChatCompletions };
  /** `completions.create`, as the OpenAI client has it. */
  readonly completions: Completions;
  readonly #connection: Connection;

  private constructor(connection: Connection, facts: Facts, model: string) {
    this.#connection = connection;
    this.facts = facts;
    this.lost = connection.lost;
    this.chat = { completions: new ChatCompletions(connection, model) };
    this.completions = new Completions(connection, model);
  }

  /**
   * Opens a checkpoint and streams its weights to the GPU.
   *
   * @throws MobileMoEError - "NoWebGpu", "NoAdapter" (this browser or device cannot run it), "AccessDenied" (the
   * message says how to get access), "HttpStatus", "HttpConnection" and other "Http..." codes (the server),
   * "MissingFile", "MissingTensor" and others (the checkpoint), "Aborted".
   */
  static async load(source: Source = 'pocket', options: LoadOptions = {}): Promise<MobileMoE> {
    const { onProgress, signal } = options;
    const aborted = () => new MobileMoEError('Aborted', 'Loading was aborted.');
    if (signal?.aborted) throw aborted();
    const from = wireSource(source, options);
    const meter = new ProgressMeter(onProgress);
    const connection = new Connection();
    // The worker is the load's own: ending it ends every request and frees what is on the GPU, at any moment.
    const abort = () => connection.close(aborted());
    signal?.addEventListener('abort', abort);
    try {
      const onEvent = meter.update.bind(meter);
      const facts = await connection.call('load', [from, wireLoad(options)], { onEvent });
      return new MobileMoE(connection, facts, nameOf(source));
    } catch (thrown) {
      const error = MobileMoEError.from(thrown);
      connection.close(error);
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /**
   * Whether a checkpoint can run here, before anything but its `config.json` is fetched: adapter, limits, memory. The same
   * options as for `load`.
   *
   * @throws MobileMoEError - what is wrong with the source, as `load` says it.
   */
  static async canRun(source: Source = 'pocket', options: Omit<LoadOptions, 'onProgress'> = {}): Promise<Capability> {
    const { signal } = options;
    const aborted = () => new MobileMoEError('Aborted', 'The call was aborted.');
    if (signal?.aborted) throw aborted();
    const from = wireSource(source, options);
    const connection = new Connection();
    const abort = () => connection.close(aborted());
    signal?.addEventListener('abort', abort);
    try {
      return await connection.call('canRun', [from, wireLoad(options)]);
    } finally {
      signal?.removeEventListener('abort', abort);
      connection.close(new MobileMoEError('Disposed', 'The call is over.'));
    }
  }

  /**
   * Answers a conversation, continues a text, or continues token ids (which needs no tokenizer), in a session that such
   * calls share: what the prompt shares with the call before is not computed again.
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): GenerationStream {
    const request = () => ({
      prompt: wirePrompt(prompt),
      session: undefined,
      choices: 1,
      seed: wireSeed(options.seed),
      options: wireOptions(options),
      format: wireFormat(options.responseFormat),
    });
    return new GenerationStream(startGenerate(this.#connection, request, options));
  }

  /** A conversation with a KV cache of its own, which nobody else's calls overwrite. */
  async createSession(): Promise<Session> {
    return new Session(this.#connection, await this.#connection.call('createSession', []));
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

  /** How many tokens a prompt is, as `generate` takes it. */
  async countTokens(prompt: string | readonly ChatMessage[]): Promise<number> {
    const ids = typeof prompt === 'string' ? this.tokenize(prompt, { addSpecialTokens: true }) : this.tokenizeChat(prompt);
    return (await ids).length;
  }

  /** A conversation as the checkpoint's template renders it. `addGenerationPrompt` (default true) opens the answer. */
  applyChatTemplate(messages: readonly ChatMessage[], options: { addGenerationPrompt?: boolean } = {}): Promise<string> {
    return this.#connection.call('applyChatTemplate', [messages, options.addGenerationPrompt ?? true]);
  }

  /** The ids that a conversation becomes: as `applyChatTemplate`, but a special token spelled in a message stays text. */
  tokenizeChat(messages: readonly ChatMessage[], options: { addGenerationPrompt?: boolean } = {}): Promise<Uint32Array> {
    return this.#connection.call('tokenizeChat', [messages, options.addGenerationPrompt ?? true]);
  }

  /** Logits after the last id, or after every id with `allPositions`, and the experts each token was routed to. */
  async logits(ids: ArrayLike<number>, options: { allPositions?: boolean } = {}): Promise<LogitsTrace> {
    return this.#connection.call('logits', [tokenIds(ids), options.allPositions ?? false]);
  }

  /**
   * How likely the model finds a continuation, id by id. Two texts are encoded as one, so that the border between them
   * falls where the tokenizer has it; begin-of-text is put before them. Of ids, the context must hold at least one.
   */
  async score(
    context: string | ArrayLike<number>,
    continuation: string | ArrayLike<number>,
    options: { signal?: AbortSignal } = {},
  ): Promise<Score> {
    const wire = (part: string | ArrayLike<number>) => (typeof part === 'string' ? part : tokenIds(part));
    return this.#connection.call('score', [wire(context), wire(continuation)], options);
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

function wireLoad({ contextLength, kv, chunkTokens, device, variant }: LoadOptions): WireLoadOptions {
  const lowPower = device?.powerPreference === 'low-power';
  return { ...given({ contextLength, kv, chunkTokens, variant }), lowPower };
}

/** What the responses call the model: the folder it came from. */
function nameOf(source: Source): string {
  if (typeof source === 'string' || source instanceof URL) {
    return `${source}`.split(/[?#]/)[0]!.split('/').filter(Boolean).at(-1) ?? 'mobilemoe';
  }
  if ('kind' in source) return source.name;
  if ('files' in source) return 'mobilemoe';
  return [...source][0]?.webkitRelativePath.split('/').at(-2) || 'mobilemoe';
}
