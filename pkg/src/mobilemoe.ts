import type { BenchmarkOptions, BenchmarkReport } from './benchmark.js';
import {
  bad, checkOptions, isArrayOf, isFlag, isFunction, isInteger, isNumber, isObject, isOneOf, isSignal, isText, reading, spelled, type Check,
} from './check.js';
import { ChatCompletions, Completions, type Served } from './completions.js';
import { Connection } from './connection.js';
import { abortReason, MobileMoEError } from './errors.js';
import type { Facts } from './facts.js';
import { hashOf } from './hash.js';
import { chatMessages } from './messages.js';
import type { ModelList } from './openai.js';
import { ProgressMeter } from './progress.js';
import type { WireLoadOptions } from './protocol.js';
import { given, tokenIds } from './request.js';
import { Session, startGenerate } from './session.js';
import { wireSource, type Source } from './source.js';
import { inWorker, spawn, startModules, type EngineFiles } from './spawn.js';
import { persist } from './storage.js';
import type { GenerationStream } from './stream.js';
import type { KernelVariant, Capability, ChatMessage, GenerateOptions, LoadOptions, LogitsTrace, Prompt, Score } from './types.js';

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
  /** `chat.completions.create`, `stream` and `parse`, as the OpenAI client has them. */
  readonly chat: { readonly completions: ChatCompletions };
  /** `completions.create`, as the OpenAI client has it. */
  readonly completions: Completions;
  /** `models.list()`, as the OpenAI client has it: the one that is loaded. */
  readonly models: { list(): Promise<ModelList> };
  #loaded: Loaded;
  #disposed = false;
  /** Ends the `reload` that is under way. */
  #loading: AbortController | undefined;

  private constructor(loaded: Loaded) {
    this.#loaded = loaded;
    this.chat = { completions: new ChatCompletions(() => this.#loaded) };
    this.completions = new Completions(() => this.#loaded);
    this.models = {
      list: async () => ({ object: 'list', data: [{ id: this.#loaded.model, object: 'model', created: 0, owned_by: 'mobilemoe-web' }] }),
    };
  }

  /** What was loaded and where it runs: model sizes, adapter, bytes on the GPU, context length. */
  get facts(): Facts {
    return this.#loaded.facts;
  }

  /**
   * Resolves, with the reason, if the engine dies by itself: a lost GPU device (code "DeviceLost"), a crashed worker
   * ("WorkerCrashed"). Every pending call has then been rejected with the same error; load again to go on. Each `reload` makes
   * a new one.
   */
  get lost(): Promise<MobileMoEError> {
    return this.#loaded.connection.lost;
  }

  get #connection(): Connection {
    return this.#loaded.connection;
  }

  /**
   * Opens a checkpoint and streams its weights to the GPU.
   *
   * @throws MobileMoEError - "NoWebGpu", "NoAdapter" (this browser or device cannot run it), "AccessDenied" (the
   * message says how to get access), "HttpStatus", "HttpConnection" and other "Http..." codes (the server),
   * "MissingFile", "MissingTensor" and others (the checkpoint), "Aborted".
   */
  static async load(source: Source = 'pocket', options: LoadOptions = {}): Promise<MobileMoE> {
    return new MobileMoE(await open(source, options));
  }

  /**
   * Loads another model in place of this one, which is unloaded first: there may not be room for both. Sessions are gone
   * with it. If it fails, nothing is loaded; call it again.
   */
  async reload(source: Source = 'pocket', options: LoadOptions = {}): Promise<void> {
    if (this.#disposed) throw disposed();
    this.unload();
    const { signal } = (this.#loading = new AbortController());
    const loaded = await open(source, options, signal);
    if (signal.aborted) {
      loaded.connection.close(signal.reason);
      throw signal.reason;
    }
    this.#loaded = loaded;
  }

  /** Frees worker and GPU memory. What is pending, and every call until `reload`, rejects with code "NotLoaded". */
  unload(): void {
    this.#loading?.abort(new MobileMoEError('Aborted', 'Loading was overtaken: the engine was unloaded, or loads something else.'));
    this.#connection.close(new MobileMoEError('NotLoaded', 'The model was unloaded; reload() loads one.'));
  }

  /**
   * Stops everything that runs or waits, as if each call's own signal had aborted: generations, scores, a benchmark. The
   * engine goes on.
   */
  interrupt(): void {
    this.#connection.interrupt();
  }

  /**
   * Whether a checkpoint can run here, before anything but its `config.json` is fetched: adapter, limits, memory. The same
   * options as for `load`.
   *
   * @throws MobileMoEError - what is wrong with the source, as `load` says it.
   */
  static async canRun(source: Source = 'pocket', options: Omit<LoadOptions, 'onProgress'> = {}): Promise<Capability> {
    const { from, wire, files, signal } = reading(() => wireLoad(source, options));
    return inWorker(files, signal, (connection) => connection.call('canRun', [from, wire]));
  }

  /**
   * Answers a conversation, continues a text, or continues token ids (which needs no tokenizer), in a session that such
   * calls share: what the prompt shares with the call before is not computed again.
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): GenerationStream {
    return startGenerate(this.#connection, undefined, prompt, options);
  }

  /** A conversation with a KV cache of its own, which nobody else's calls overwrite. */
  async createSession(): Promise<Session> {
    return new Session(this.#connection, await this.#connection.call('createSession', []));
  }

  /**
   * Text to ids. `addSpecialTokens` (default false) puts begin-of-text first, as the tokenizer's own rules say.
   * `parseSpecialTokens` (default false) turns a spelled `<|eot|>` into its id; leave it off for text from outside.
   */
  async tokenize(text: string, options: { addSpecialTokens?: boolean; parseSpecialTokens?: boolean } = {}): Promise<Uint32Array> {
    isText(text, 'text');
    const { addSpecialTokens = false, parseSpecialTokens = false } = flags(options, ['addSpecialTokens', 'parseSpecialTokens']);
    return this.#connection.call('tokenize', [text, addSpecialTokens, parseSpecialTokens]);
  }

  /** Ids to text. `skipSpecialTokens` (default false) leaves out `<|eot|>` and the like. */
  async detokenize(ids: ArrayLike<number>, options: { skipSpecialTokens?: boolean } = {}): Promise<string> {
    const { skipSpecialTokens = false } = flags(options, ['skipSpecialTokens']);
    return this.#connection.call('detokenize', [reading(() => tokenIds(ids)), skipSpecialTokens]);
  }

  /** How many tokens a prompt is, as `generate` takes it. */
  async countTokens(prompt: string | readonly ChatMessage[]): Promise<number> {
    const ids = typeof prompt === 'string' ? this.tokenize(prompt, { addSpecialTokens: true }) : this.tokenizeChat(prompt);
    return (await ids).length;
  }

  /** A conversation as the checkpoint's template renders it. `addGenerationPrompt` (default true) opens the answer. */
  async applyChatTemplate(messages: readonly ChatMessage[], options: { addGenerationPrompt?: boolean } = {}): Promise<string> {
    const { addGenerationPrompt = true } = flags(options, ['addGenerationPrompt']);
    return this.#connection.call('applyChatTemplate', [reading(() => chatMessages(messages, 'messages')), addGenerationPrompt]);
  }

  /** The ids that a conversation becomes: as `applyChatTemplate`, but a special token spelled in a message stays text. */
  async tokenizeChat(messages: readonly ChatMessage[], options: { addGenerationPrompt?: boolean } = {}): Promise<Uint32Array> {
    const { addGenerationPrompt = true } = flags(options, ['addGenerationPrompt']);
    return this.#connection.call('tokenizeChat', [reading(() => chatMessages(messages, 'messages')), addGenerationPrompt]);
  }

  /** Logits after the last id, or after every id with `allPositions`, and the experts each token was routed to. */
  async logits(ids: ArrayLike<number>, options: { allPositions?: boolean } = {}): Promise<LogitsTrace> {
    const { allPositions = false } = flags(options, ['allPositions']);
    return this.#connection.call('logits', [reading(() => tokenIds(ids)), allPositions]);
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
    const wire = (part: string | ArrayLike<number>, name: string) => (typeof part === 'string' ? part : tokenIds(part, name));
    const args = reading(() => [wire(context, 'context'), wire(continuation, 'continuation')] as [string | Uint32Array, string | Uint32Array]);
    const { signal } = checkOptions(options, { signal: isSignal });
    return this.#connection.call('score', args, { signal });
  }

  /**
   * Measures how fast the loaded model runs on this device: prefill by prompt length, decode by context, time by kernel.
   * Takes minutes with the default options on a slow device; other calls wait. What a chat left in the cache is dropped.
   */
  async benchmark(options: BenchmarkOptions = {}): Promise<BenchmarkReport> {
    const { onProgress, signal, ...wire } = reading(() => checkOptions(options, BENCHMARK));
    return this.#connection.call('benchmark', [wire], { onEvent: onProgress && ((progress) => onProgress(progress)), signal });
  }

  /** Ends the worker and frees the GPU memory. What is pending rejects with code "Disposed". */
  dispose(): void {
    this.#disposed = true;
    this.#loading?.abort(disposed());
    this.#connection.close(disposed());
  }
}

interface Loaded extends Served {
  facts: Facts;
}

/** `overtaken`: aborts it as the caller's own signal does. */
async function open(source: Source, options: LoadOptions, overtaken?: AbortSignal): Promise<Loaded> {
  const { from, wire, files, signal: own, onProgress } = reading(() => wireLoad(source, options));
  const signal = own && overtaken ? AbortSignal.any([own, overtaken]) : (own ?? overtaken);
  if (signal?.aborted) throw abortReason(signal);
  const meter = new ProgressMeter(onProgress);
  const connection = new Connection(spawn(files));
  // The worker is the load's own: ending it ends every request and frees what is on the GPU, at any moment.
  const abort = () => connection.close(abortReason(signal!));
  signal?.addEventListener('abort', abort);
  try {
    await startModules(connection, files);
    const facts = await connection.call('load', [from, wire], { onEvent: (progress) => meter.update(progress) });
    const model = nameOf(source);
    if (facts.stored?.complete && facts.stored.bytesFetched > 0) void persist();
    meter.ready();
    return { connection, facts, model, fingerprint: fingerprintOf(model, facts) };
  } catch (thrown) {
    connection.close(thrown);
    throw thrown;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

export const LOAD: Readonly<Record<keyof LoadOptions, Check>> = {
  onProgress: isFunction,
  signal: isSignal,
  contextLength: isInteger(1, 0xffff_ffff, 'a count of tokens'),
  kv: isOneOf('i8', 'f16', 'f32'),
  chunkTokens: isInteger(1, 0xffff_ffff, 'a count of tokens'),
  device: (value, name) => checkOptions(value as object, { powerPreference: isOneOf('high-performance', 'low-power') }, undefined, `${name}.`),
  variant: (value, name) => {
    isObject(value, name);
    const { decode, prefill } = checkOptions(value as Partial<KernelVariant>, { decode: isText, prefill: isText }, undefined, `${name}.`);
    if (decode === undefined || prefill === undefined) throw bad(name, `${name} needs both decode and prefill`);
  },
  revision: isText,
  endpoint: isUrl,
  token: (value, name) => {
    if (typeof value !== 'string') isTexts(value, name);
  },
  store: isOneOf('auto', 'off', 'only'),
  integrity: isTexts,
  worker: (value, name) => {
    if (typeof value !== 'function' && !(typeof Worker !== 'undefined' && value instanceof Worker)) throw bad(name, `${name} must be a Worker, or a function that makes one`);
  },
  workerUrl: isUrl,
  wasmUrl: isUrl,
};

export function isSource(source: unknown): void {
  if (typeof source === 'string' || source instanceof URL) return;
  if (typeof source === 'object' && source !== null) {
    const { files, kind } = source as { files?: unknown; kind?: unknown };
    if (kind === 'directory' || (typeof files === 'object' && files !== null)) return;
    const picked = Symbol.iterator in source ? [...(source as Iterable<unknown>)] : [undefined];
    if (picked.every((file) => typeof (file as { name?: unknown } | null | undefined)?.name === 'string')) return;
  }
  throw bad('source', `source is ${spelled(source)}; expected an id, a URL, { files }, picked files or a directory handle`);
}

function isTexts(value: unknown, name: string): void {
  isObject(value, name);
  for (const [key, text] of Object.entries(value as object)) isText(text, `${name}["${key}"]`);
}

function isUrl(value: unknown, name: string): void {
  if (!(value instanceof URL)) isText(value, name);
}

const isCounts = isArrayOf(isInteger(1, 0xffff_ffff, 'a count of tokens'), 'counts of tokens');

const BENCHMARK: Readonly<Record<keyof BenchmarkOptions, Check>> = {
  prompts: isCounts,
  contexts: isCounts,
  streams: isArrayOf(isOneOf('realistic', 'templated'), 'an array of "realistic" and "templated"'),
  prose: isText,
  fill: isOneOf('random', 'prompt'),
  repeats: isInteger(1),
  tokens: isInteger(1),
  budgetMs: isNumber((value) => value >= 0, 'of milliseconds'),
  profile: isFlag,
  onProgress: isFunction,
  signal: isSignal,
};

function wireLoad(source: Source, options: LoadOptions) {
  isSource(source);
  const checked = checkOptions(options, LOAD);
  const { contextLength, kv, chunkTokens, device, variant, signal, onProgress, worker, workerUrl, wasmUrl } = checked;
  const wire: WireLoadOptions = { ...given({ contextLength, kv, chunkTokens, variant }), lowPower: device?.powerPreference === 'low-power' };
  const files: EngineFiles = given({ worker, workerUrl, wasmUrl });
  return { from: wireSource(source, checked), wire, files, signal, onProgress };
}

/** Options that are all flags. */
function flags<Name extends string>(options: { [K in Name]?: boolean }, names: Name[]): { [K in Name]?: boolean } {
  return checkOptions(options, Object.fromEntries(names.map((name) => [name, isFlag]))) as { [K in Name]?: boolean };
}

function disposed(): MobileMoEError {
  return new MobileMoEError('Disposed', 'This engine was disposed of.');
}

/** Changes with what may change an answer: the model, how it is kept, the kernels, the GPU. */
function fingerprintOf(model: string, { adapter, weightBytes, vocabSize, layers, kv, variant }: Facts): string {
  const text = JSON.stringify([model, weightBytes, vocabSize, layers, adapter, kv, variant.decode, variant.prefill]);
  return `fp_${hashOf(text)}`;
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
