/**
 * The browser's Prompt API (`LanguageModel`) on this engine, for browsers that have none:
 *
 * ```ts
 * import { languageModel } from 'mobilemoe-web/prompt-api';
 *
 * const Model = 'LanguageModel' in globalThis ? LanguageModel : languageModel('facebook/MobileMoE-S-QAT');
 * const session = await Model.create({ initialPrompts: [{ role: 'system', content: 'Be brief.' }] });
 * console.log(await session.prompt('Name one JVM language.'));
 * ```
 *
 * Errors are `MobileMoEError`s whose `name` is that of the browser's ("QuotaExceededError", "NotSupportedError", "InvalidStateError").
 *
 * @module
 */
import { anything, bad, checkOptions, isFlag, isFunction, isInteger, isNumber, isObject, isOneOf, isSignal, isText, spelled, unsupported } from './check.js';
import { abortReason, MobileMoEError } from './errors.js';
import { MobileMoE } from './mobilemoe.js';
import type { ResponseFormat } from './response-format.js';
import type { Session } from './session.js';
import type { Source } from './source.js';
import { readable, type GenerationStream } from './stream.js';
import type { ChatMessage, GenerateOptions, LoadOptions } from './types.js';

export type Availability = 'unavailable' | 'downloadable' | 'downloading' | 'available';

/** A turn of a conversation; `prefix`, on the last one, an assistant's: the answer goes on from it. */
export interface PromptMessage {
  role: 'system' | 'user' | 'assistant';
  content: string | readonly { type: 'text' | (string & {}); value: unknown }[];
  prefix?: boolean;
}
export type PromptInput = string | readonly PromptMessage[];

export interface CoreOptions {
  /** Only of type "text". Languages are taken as a hint. */
  expectedInputs?: readonly { type: string; languages?: readonly string[] }[];
  expectedOutputs?: readonly { type: string; languages?: readonly string[] }[];
  /** None: the engine's tools are in `chat.completions`. */
  tools?: readonly unknown[];
  /** Temperature 0 (default), 0.4, 0.7, 1, 1.3. Goes with neither of the next two. */
  samplingMode?: 'most-predictable' | 'predictable' | 'balanced' | 'creative' | 'most-creative';
  topK?: number;
  temperature?: number;
}

export interface CreateOptions extends CoreOptions {
  initialPrompts?: readonly PromptMessage[];
  /** Ends the creation, and later on the session. */
  signal?: AbortSignal;
  /** Hears `downloadprogress` events while the model is loaded. */
  monitor?: (monitor: any) => void;
}

export interface PromptOptions {
  /** A JSON Schema or a `RegExp`. The model does not see it: say in the prompt what you want. */
  responseConstraint?: Readonly<Record<string, unknown>> | boolean | RegExp;
  /** Taken: the constraint is never put into the prompt here. */
  omitResponseConstraintInput?: boolean;
  signal?: AbortSignal;
}

/** What stands in for the browser's `LanguageModel`. */
export interface LanguageModelApi {
  availability(options?: CoreOptions): Promise<Availability>;
  create(options?: CreateOptions): Promise<LanguageModelSession>;
  params(): Promise<{ defaultTopK: number; maxTopK: number; defaultTemperature: number; maxTemperature: number }>;
}

const TEMPERATURES = { 'most-predictable': 0, predictable: 0.4, balanced: 0.7, creative: 1, 'most-creative': 1.3 };

const isTemperature = isNumber((value) => value >= 0 && value <= 100, 'from 0 to 100');
const CORE = {
  expectedInputs: isTextOnly,
  expectedOutputs: isTextOnly,
  tools: (value: unknown, name: string) => {
    if (!Array.isArray(value) || value.length > 0) throw unsupported(name, name, 'call tools by chat.completions instead');
  },
  samplingMode: isOneOf(...Object.keys(TEMPERATURES)),
  topK: isInteger(0, 0xffff_ffff, 'a count of tokens, 0 for all'),
  temperature: isTemperature,
};
const CREATE = { ...CORE, initialPrompts: anything, signal: isSignal, monitor: isFunction };
const PROMPT = { responseConstraint: anything, omitResponseConstraintInput: isFlag, signal: isSignal };

/**
 * @param source - an engine that is loaded already, or where its model comes from: it is loaded when the first session is
 *   created, and shared by all.
 */
export function languageModel(source: MobileMoE | Source = 'pocket', options: LoadOptions = {}): LanguageModelApi {
  let engine: Promise<MobileMoE> | undefined = source instanceof MobileMoE ? Promise.resolve(source) : undefined;
  let loaded = source instanceof MobileMoE;
  const monitors = new Set<EventTarget>();

  const load = (): Promise<MobileMoE> => {
    engine ??= MobileMoE.load(source as Source, {
      ...options,
      onProgress(progress) {
        options.onProgress?.(progress);
        // Its end is told by `create`, to those whose model was there already, too.
        if (progress.fraction < 1) for (const monitor of monitors) monitor.dispatchEvent(downloaded(progress.fraction));
      },
    }).then(
      (engine) => {
        loaded = true;
        void engine.lost.then(forget);
        return engine;
      },
      (error: unknown) => {
        forget();
        throw error;
      },
    );
    return engine;
  };
  // What failed, or went away, is loaded again the next time.
  const forget = () => {
    if (source instanceof MobileMoE) return;
    engine = undefined;
    loaded = false;
  };

  return {
    async availability(given) {
      try {
        sampling(checkOptions(given, CORE));
      } catch {
        return 'unavailable';
      }
      if (engine) return loaded ? 'available' : 'downloading';
      const { onProgress: _, ...rest } = options;
      const { ok } = await MobileMoE.canRun(source as Source, rest).catch(() => ({ ok: false }));
      return ok ? 'downloadable' : 'unavailable';
    },

    async create(given) {
      try {
        const { initialPrompts, signal, monitor, ...core } = checkOptions(given, CREATE);
        const settings = sampling(core);
        const messages = initialPrompts === undefined ? [] : conversation(initialPrompts as PromptInput, 'initialPrompts', true).messages;
        if (signal?.aborted) throw abortReason(signal);
        const target = new EventTarget();
        if (monitor) {
          (monitor as (monitor: EventTarget) => void)(monitored(target));
          monitors.add(target);
        }
        try {
          const aborted = new Promise<never>((_, reject) => signal?.addEventListener('abort', () => reject(abortReason(signal)), { once: true }));
          aborted.catch(() => {});
          const engine = await Promise.race([load(), aborted]);
          if (monitor && monitors.has(target)) target.dispatchEvent(downloaded(1));
          const session = await LanguageModelSession.open(engine, messages, settings);
          if (signal?.aborted) {
            session.destroy();
            throw abortReason(signal);
          }
          signal?.addEventListener('abort', () => session.destroy(), { once: true });
          return session;
        } finally {
          monitors.delete(target);
        }
      } catch (error) {
        throw browserError(error);
      }
    },

    async params() {
      return { defaultTopK: 0, maxTopK: 0xffff_ffff, defaultTemperature: 0, maxTemperature: 100 };
    },
  };
}

/** A conversation. Prompts on it are answered one after another. */
export class LanguageModelSession extends EventTarget {
  oncontextoverflow: ((this: any, event: Event) => any) | null = null;
  /** An older name of `oncontextoverflow`. */
  onquotaoverflow: ((this: any, event: Event) => any) | null = null;
  readonly topK: number;
  readonly temperature: number;
  readonly #engine: MobileMoE;
  readonly #session: Session;
  readonly #destroyed = new AbortController();
  /** These are never forgotten: the system's. */
  readonly #kept: number;
  #messages: ChatMessage[];
  #contextUsage = 0;
  /** The last thing that was asked for here. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(engine: MobileMoE, session: Session, messages: ChatMessage[], { topK = 0, temperature = 0 }: GenerateOptions) {
    super();
    this.#engine = engine;
    this.#session = session;
    this.#messages = messages;
    this.#kept = messages[0]?.role === 'system' ? 1 : 0;
    this.topK = topK;
    this.temperature = temperature;
  }

  /** @internal */
  static async open(engine: MobileMoE, messages: ChatMessage[], settings: GenerateOptions): Promise<LanguageModelSession> {
    const session = new LanguageModelSession(engine, await engine.createSession(), messages, settings);
    try {
      await session.#fit(messages);
      return session;
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  /** Answers; prompt and answer are then part of the conversation. An abort leaves it as it was. */
  async prompt(input: PromptInput, options: PromptOptions = {}): Promise<string> {
    let text = '';
    for await (const piece of this.#answer(input, options, () => {})) text += piece;
    return text;
  }

  /** The same, piece by piece. Cancelling the stream aborts. */
  promptStreaming(input: PromptInput, options: PromptOptions = {}): ReadableStream<string> {
    let abort = () => {};
    return readable(this.#answer(input, options, (answer) => (abort = () => answer.abort())), () => abort());
  }

  /** Adds to the conversation without an answer; the model reads it with the next prompt. */
  async append(input: PromptInput, options: { signal?: AbortSignal } = {}): Promise<undefined> {
    await this.#inTurn(async () => {
      const { signal } = checkOptions(options, { signal: isSignal });
      const { messages } = conversation(input, 'input', false);
      if (signal?.aborted) throw abortReason(signal);
      await this.#fit([...this.#messages, ...messages]);
    });
    return undefined;
  }

  /** How many tokens of the context a prompt would take. */
  async measureContextUsage(input: PromptInput, options: PromptOptions = {}): Promise<number> {
    try {
      checkOptions(options, PROMPT);
      const { messages } = conversation(input, 'input', false);
      const [before, after] = [await this.#count(this.#messages), await this.#count([...this.#messages, ...messages])];
      return after - before;
    } catch (error) {
      throw browserError(error);
    }
  }

  /** An older name of `measureContextUsage`. */
  measureInputUsage(input: PromptInput, options: PromptOptions = {}): Promise<number> {
    return this.measureContextUsage(input, options);
  }

  /** Tokens that the conversation takes. */
  get contextUsage(): number {
    return this.#contextUsage;
  }

  /** An older name of `contextUsage`. */
  get inputUsage(): number {
    return this.#contextUsage;
  }

  /** Tokens that it may take, its answers included. */
  get contextWindow(): number {
    return this.#engine.facts.contextLength;
  }

  /** An older name of `contextWindow`. */
  get inputQuota(): number {
    return this.contextWindow;
  }

  /** A session that goes on from here by itself; its cache is copied on the GPU. */
  async clone(options: { signal?: AbortSignal } = {}): Promise<LanguageModelSession> {
    return this.#inTurn(async () => {
      const { signal } = checkOptions(options, { signal: isSignal });
      if (signal?.aborted) throw abortReason(signal);
      const clone = new LanguageModelSession(this.#engine, await this.#session.fork(), [...this.#messages], this);
      clone.#contextUsage = this.#contextUsage;
      return clone;
    });
  }

  /** Ends what runs and frees the cache; the engine stays. */
  destroy(): undefined {
    if (this.#destroyed.signal.aborted) return;
    this.#destroyed.abort(new MobileMoEError('Disposed', 'The session was destroyed.'));
    void this.#session.dispose().catch(() => {}); // the engine is gone
  }

  async *#answer(input: PromptInput, options: PromptOptions, started: (answer: GenerationStream) => void): AsyncGenerator<string, void, undefined> {
    let done = () => {};
    const before = this.#last;
    this.#last = new Promise<void>((resolve) => (done = resolve));
    try {
      const { responseConstraint, signal } = checkOptions(options, PROMPT);
      const { messages, prefix } = conversation(input, 'input', false);
      const format = formatOf(responseConstraint);
      const signals = [this.#destroyed.signal, ...(signal ? [signal] : [])];
      const stop = AbortSignal.any(signals);
      if (stop.aborted) throw abortReason(stop);
      await Promise.race([before, new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }))]);
      const asked = await this.#fitting([...this.#messages, ...messages], true);
      const ids = await this.#engine.tokenizeChat(asked);
      const begun = prefix ? await this.#engine.tokenize(prefix) : [];
      const answer = this.#session.generate([...ids, ...begun], {
        topK: this.topK,
        temperature: this.temperature,
        signal: stop,
        ...(format && { responseFormat: format }),
      });
      started(answer);
      let text = '';
      try {
        for await (const piece of answer) {
          text += piece;
          yield piece;
        }
      } finally {
        answer.abort(); // where the reader left
      }
      const { finishReason } = await answer.result;
      if (finishReason === 'abort') throw abortReason(stop.aborted ? stop : AbortSignal.abort());
      this.#messages = [...asked, { role: 'assistant', content: prefix + text }];
      this.#contextUsage = await this.#count(this.#messages);
    } catch (error) {
      throw browserError(error);
    } finally {
      done();
    }
  }

  /** Does it once what was asked for before is done. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const turn = before.then(async () => {
      this.#destroyed.signal.throwIfAborted();
      return work();
    });
    this.#last = turn.catch(() => {});
    return turn.catch((error: unknown) => {
      throw browserError(error);
    });
  }

  /** Makes it the conversation. */
  async #fit(messages: ChatMessage[]): Promise<void> {
    this.#messages = await this.#fitting(messages, false);
    this.#contextUsage = await this.#count(this.#messages);
  }

  /** The conversation without its oldest turns, if it is too long otherwise. */
  async #fitting(messages: ChatMessage[], opened: boolean): Promise<ChatMessage[]> {
    const fits = async (messages: ChatMessage[]) => (await this.#count(messages, opened)) < this.contextWindow;
    if (await fits(messages)) return messages;
    for (let dropped = 1; this.#kept + dropped < messages.length; dropped++) {
      const rest = [...messages.slice(0, this.#kept), ...messages.slice(this.#kept + dropped)];
      if (rest[this.#kept]!.role !== 'user' || !(await fits(rest))) continue;
      const event = new Event('contextoverflow');
      this.dispatchEvent(event);
      this.oncontextoverflow?.call(this, event);
      const older = new Event('quotaoverflow');
      this.dispatchEvent(older);
      this.onquotaoverflow?.call(this, older);
      return rest;
    }
    const [requested, quota] = [await this.#count(messages, opened), this.contextWindow];
    throw Object.assign(new MobileMoEError('PromptTooLong', `The conversation takes ${requested} tokens, the context has ${quota}.`), { requested, quota });
  }

  async #count(messages: ChatMessage[], opened = false): Promise<number> {
    if (messages.length === 0) return 0;
    return (await this.#engine.tokenizeChat(messages, { addGenerationPrompt: opened })).length;
  }
}

function isTextOnly(value: unknown, name: string): void {
  if (!Array.isArray(value)) throw bad(name, `${name} is ${spelled(value)}; expected an array`);
  for (const [i, entry] of value.entries()) {
    const type = (entry as { type?: unknown } | null)?.type;
    if (type !== 'text') throw unsupported(`${name}[${i}].type`, `${name}[${i}].type ${spelled(type)}`, 'the models read and write text only');
  }
}

function sampling({ samplingMode, topK, temperature }: CoreOptions): GenerateOptions {
  if (samplingMode !== undefined && (topK !== undefined || temperature !== undefined)) {
    throw bad('samplingMode', 'samplingMode goes with neither topK nor temperature');
  }
  const chosen = samplingMode === undefined ? temperature : TEMPERATURES[samplingMode];
  return { ...(topK !== undefined && { topK }), ...(chosen !== undefined && { temperature: chosen }) };
}

/** The messages of an input, and the beginning of the answer, if it brings that. */
function conversation(input: unknown, where: string, initial: boolean): { messages: ChatMessage[]; prefix: string } {
  if (typeof input === 'string' && !initial) return { messages: [{ role: 'user', content: input }], prefix: '' };
  if (!Array.isArray(input)) throw bad(where, `${where} is ${spelled(input)}; expected ${initial ? '' : 'a text or '}messages`);
  const messages = Array.from(input as unknown[], (message, i) => promptMessage(message, `${where}[${i}]`, initial && i === 0));
  const last: unknown = input.at(-1);
  const prefixed = (last as PromptMessage | undefined)?.prefix === true;
  if (!prefixed) return { messages, prefix: '' };
  if (initial || (last as PromptMessage).role !== 'assistant') throw bad(`${where}.prefix`, `${where}: prefix goes with the last message of a prompt, an assistant's`);
  return { messages: messages.slice(0, -1), prefix: messages.at(-1)!.content as string };
}

function promptMessage(message: unknown, where: string, mayBeSystem: boolean): ChatMessage {
  isObject(message, where);
  const { role, content } = checkOptions(message as Partial<PromptMessage>, { role: isText, content: anything, prefix: isFlag }, undefined, `${where}.`);
  if (role !== 'user' && role !== 'assistant' && !(role === 'system' && mayBeSystem)) {
    throw bad(`${where}.role`, `${where}.role is ${spelled(role)}; expected "user" or "assistant", or "system" as the first of initialPrompts`);
  }
  if (typeof content === 'string') return { role, content };
  if (!Array.isArray(content)) throw bad(`${where}.content`, `${where}.content is ${spelled(content)}; expected text`);
  const texts = Array.from(content as { type?: unknown; value?: unknown }[], (part, i) => {
    const at = `${where}.content[${i}]`;
    if (part?.type !== 'text') throw unsupported(`${at}.type`, `${at}.type ${spelled(part?.type)}`, 'the models read text only');
    isText(part.value, `${at}.value`);
    return part.value as string;
  });
  return { role, content: texts.join('') };
}

function formatOf(constraint: unknown): ResponseFormat | undefined {
  if (constraint === undefined) return undefined;
  if (constraint instanceof RegExp) {
    const { source, flags } = constraint;
    if (/[^uvs]/.test(flags)) throw unsupported('responseConstraint', `responseConstraint with the flags "${flags}"`, 'a regex is matched as a whole, as it is');
    // As JavaScript has it, it may match anywhere, but for its own anchors; a whole answer is meant.
    return { type: 'regex', regex: (flags.includes('s') ? '(?s)' : '') + source.replace(/^\^/, '').replace(/(?<!\\)\$$/, '') };
  }
  if (typeof constraint !== 'object' && typeof constraint !== 'boolean') {
    throw bad('responseConstraint', `responseConstraint is ${spelled(constraint)}; expected a JSON Schema or a RegExp`);
  }
  return { type: 'json_schema', json_schema: { schema: constraint as Record<string, unknown> } };
}

/** A monitor as the browser gives it: an event target with `ondownloadprogress`. */
function monitored(target: EventTarget): EventTarget {
  const monitor = Object.assign(target, { ondownloadprogress: null as ((event: Event) => void) | null });
  monitor.addEventListener('downloadprogress', (event) => monitor.ondownloadprogress?.(event));
  return monitor;
}

function downloaded(loaded: number): Event {
  const fields = { loaded, total: 1, lengthComputable: true };
  return typeof ProgressEvent === 'undefined' ? Object.assign(new Event('downloadprogress'), fields) : new ProgressEvent('downloadprogress', fields);
}

const NAMES: Readonly<Record<string, string>> = { PromptTooLong: 'QuotaExceededError', Unsupported: 'NotSupportedError', BadConstraint: 'NotSupportedError', Disposed: 'InvalidStateError', NotLoaded: 'InvalidStateError' };

/** The same error under the name that the browser's has. */
function browserError(error: unknown): unknown {
  if (error instanceof MobileMoEError && Object.hasOwn(NAMES, error.code)) error.name = NAMES[error.code]!;
  return error;
}
