/** `chat.completions.stream()` and `parse()`, as the OpenAI client has them: a streamed answer put together as it comes. */
import type { CompletionStream } from './completion-stream.js';
import { abortReason, MobileMoEError } from './errors.js';
import type {
  ChatCompletion, ChatCompletionChoice, ChatCompletionChunk, ChatCompletionTokenLogprob, CompletionUsage, ParsedChatCompletion,
} from './openai.js';

/** Makes of a finished answer's text what the caller wanted; `undefined` if that is text. */
export type Parser = (text: string) => unknown;

/** How a request's answers are parsed: by the format's own parser (as `zodResponseFormat` brings one), or as JSON under a schema. */
export function parserOf(format: unknown): Parser | undefined {
  const { type, schema, $parseRaw } = (format ?? {}) as { type?: unknown; schema?: unknown; $parseRaw?: Parser };
  if (typeof $parseRaw === 'function') return $parseRaw;
  return type === 'json_schema' || (type === 'json_object' && schema != null) ? (text) => JSON.parse(text) as unknown : undefined;
}

/** @throws MobileMoEError - "UnfinishedAnswer" if it was cut off, so that there is nothing to parse. */
export function parsedCompletion(completion: ChatCompletion, parse: Parser | undefined): ParsedChatCompletion {
  return { ...completion, choices: completion.choices.map((choice) => parsedChoice(choice, parse)) };
}

function parsedChoice(choice: ChatCompletionChoice, parse: Parser | undefined): ParsedChatCompletion['choices'][number] {
  const { message, finish_reason, index } = choice;
  const isWhole = message.content && finish_reason === 'stop';
  if (parse && finish_reason === 'length') {
    const what = `choices[${index}] ended before its JSON was whole (finish_reason "length"); allow more max_tokens`;
    throw new MobileMoEError('UnfinishedAnswer', what, { param: 'max_tokens' });
  }
  return { ...choice, message: { ...message, parsed: parse && isWhole ? parsedText(message.content, parse, index) : null } };
}

function parsedText(text: string, parse: Parser, index: number): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new MobileMoEError('ParseFailed', `choices[${index}].message.content was not parsed: ${(error as Error)?.message}`, { cause: error });
  }
}

/** What listeners hear. `snapshot`: all so far. */
export interface ChatCompletionStreamEvents {
  connect: () => void;
  chunk: (chunk: ChatCompletionChunk, snapshot: ChatCompletion) => void;
  /** Of every choice; with several, `content.delta` comes in their turns, too. */
  content: (delta: string, snapshot: string) => void;
  'content.delta': (event: { delta: string; snapshot: string; parsed: unknown }) => void;
  'content.done': (event: { content: string; parsed: unknown }) => void;
  'logprobs.content.delta': (event: { content: ChatCompletionTokenLogprob[]; snapshot: ChatCompletionTokenLogprob[] }) => void;
  'logprobs.content.done': (event: { content: ChatCompletionTokenLogprob[] }) => void;
  chatCompletion: (completion: ParsedChatCompletion) => void;
  message: (message: ParsedChatCompletion['choices'][number]['message']) => void;
  finalContent: (content: string) => void;
  finalMessage: (message: ParsedChatCompletion['choices'][number]['message']) => void;
  finalChatCompletion: (completion: ParsedChatCompletion) => void;
  totalUsage: (usage: CompletionUsage) => void;
  error: (error: unknown) => void;
  abort: (error: unknown) => void;
  end: () => void;
}

type EventName = keyof ChatCompletionStreamEvents;
type Listener = (...args: never[]) => void;

/** An answer that is being streamed: listen to its events, iterate its chunks, or wait for what comes of it. */
export class ChatCompletionStream implements AsyncIterable<ChatCompletionChunk> {
  /** Aborting it ends the answer within one token; what waits for it rejects with code "Aborted". */
  readonly controller = new AbortController();
  readonly #listeners = new Map<EventName, { listener: Listener; once: boolean }[]>();
  readonly #parse: Parser | undefined;
  readonly #includeUsage: boolean;
  readonly #chunks: ChatCompletionChunk[] = [];
  readonly #final: Promise<ParsedChatCompletion>;
  #waiting: (() => void)[] = [];
  #snapshot: ChatCompletion | undefined;
  #state: 'running' | 'done' | 'errored' | 'aborted' = 'running';

  /**
   * `includeUsage`: whether the chunk that tells the usage is the caller's to see, too.
   *
   * @internal
   */
  constructor(
    start: (signal: AbortSignal) => Promise<CompletionStream<ChatCompletionChunk>>,
    parse: Parser | undefined,
    includeUsage: boolean,
  ) {
    this.#parse = parse;
    this.#includeUsage = includeUsage;
    this.#final = this.#run(start);
    this.#final.catch(() => {}); // whoever waits for it, or listens, hears of it
  }

  on<E extends EventName>(event: E, listener: ChatCompletionStreamEvents[E]): this {
    return this.#listen(event, listener, false);
  }

  once<E extends EventName>(event: E, listener: ChatCompletionStreamEvents[E]): this {
    return this.#listen(event, listener, true);
  }

  off<E extends EventName>(event: E, listener: ChatCompletionStreamEvents[E]): this {
    const kept = this.#listeners.get(event)?.filter((entry) => entry.listener !== listener) ?? [];
    this.#listeners.set(event, kept);
    return this;
  }

  /** Resolves with what the event next brings; rejects if the answer ends without it. */
  emitted<E extends EventName>(event: E): Promise<Parameters<ChatCompletionStreamEvents[E]>[0]> {
    return new Promise((resolve, reject) => {
      this.#listen(event, ((...args: unknown[]) => resolve(args[0] as never)) as Listener, true);
      const never = () => new MobileMoEError('NoSuchEvent', `The answer ended without the event "${event}".`);
      this.#final.then(() => reject(never()), reject);
    });
  }

  /** Resolves when the answer is whole. */
  async done(): Promise<void> {
    await this.#final;
  }

  finalChatCompletion(): Promise<ParsedChatCompletion> {
    return this.#final;
  }

  async finalMessage(): Promise<ParsedChatCompletion['choices'][number]['message']> {
    return (await this.#final).choices[0]!.message;
  }

  async finalContent(): Promise<string | null> {
    return (await this.finalMessage()).content;
  }

  async totalUsage(): Promise<CompletionUsage> {
    return (await this.#final).usage;
  }

  /** What came so far; `undefined` before the first chunk. */
  get currentChatCompletionSnapshot(): ChatCompletion | undefined {
    return this.#snapshot;
  }

  get ended(): boolean {
    return this.#state !== 'running';
  }

  get errored(): boolean {
    return this.#state === 'errored' || this.#state === 'aborted';
  }

  get aborted(): boolean {
    return this.#state === 'aborted';
  }

  abort(): void {
    this.controller.abort();
  }

  /** Its chunks from the first on. Leaving the loop early aborts the answer. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ChatCompletionChunk, void, undefined> {
    try {
      for (let i = 0; ; i++) {
        while (i >= this.#chunks.length && !this.ended) await new Promise<void>((resolve) => this.#waiting.push(resolve));
        if (i >= this.#chunks.length) break;
        yield this.#chunks[i]!;
      }
      if (this.#state === 'errored') await this.#final;
    } finally {
      if (!this.ended) this.abort();
    }
  }

  /** A line of JSON for each chunk, in UTF-8. */
  toReadableStream(): ReadableStream<Uint8Array> {
    const chunks = this[Symbol.asyncIterator]();
    const encoder = new TextEncoder();
    return new ReadableStream({
      pull: async (controller) => {
        const { value, done } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(encoder.encode(`${JSON.stringify(value)}\n`));
      },
      cancel: () => this.abort(),
    }, { highWaterMark: 0 });
  }

  async #run(start: (signal: AbortSignal) => Promise<CompletionStream<ChatCompletionChunk>>): Promise<ParsedChatCompletion> {
    try {
      const stream = await start(this.controller.signal);
      this.#emit('connect');
      for await (const chunk of stream) this.#add(chunk);
      const snapshot = this.#snapshot;
      // An aborted stream ends without an error, and without its end.
      if (!snapshot || snapshot.choices.some(({ finish_reason }) => !finish_reason)) throw abortReason(this.controller.signal.aborted ? this.controller.signal : AbortSignal.abort());
      const completion = parsedCompletion(snapshot, this.#parse);
      this.#state = 'done';
      this.#finish(completion);
      return completion;
    } catch (error) {
      this.#state = this.controller.signal.aborted || (error as { name?: unknown } | null)?.name === 'AbortError' ? 'aborted' : 'errored';
      this.#emit(this.#state === 'aborted' ? 'abort' : 'error', error);
      throw error;
    } finally {
      this.#emit('end');
      this.#wake();
    }
  }

  #finish(completion: ParsedChatCompletion): void {
    for (const { message, logprobs } of completion.choices) {
      if (message.content) this.#emit('content.done', { content: message.content, parsed: message.parsed });
      if (logprobs?.content.length) this.#emit('logprobs.content.done', { content: logprobs.content });
    }
    const { message } = completion.choices[0]!;
    this.#emit('chatCompletion', completion);
    this.#emit('message', message);
    if (message.content) this.#emit('finalContent', message.content);
    this.#emit('finalMessage', message);
    this.#emit('finalChatCompletion', completion);
    this.#emit('totalUsage', completion.usage);
  }

  #add(chunk: ChatCompletionChunk): void {
    const { id, created, model, system_fingerprint, usage } = chunk;
    const snapshot = (this.#snapshot ??= { id, object: 'chat.completion', created, model, system_fingerprint, choices: [], usage: NO_USAGE });
    if (usage) snapshot.usage = usage;
    if (usage && !this.#includeUsage) return;
    this.#chunks.push(chunk);
    for (const choice of chunk.choices) addChoice(snapshot, choice);
    this.#emit('chunk', chunk, snapshot);
    for (const { index, delta, logprobs } of chunk.choices) {
      const { message, logprobs: all } = snapshot.choices[index]!;
      if (delta.content) {
        this.#emit('content', delta.content, message.content!);
        this.#emit('content.delta', { delta: delta.content, snapshot: message.content!, parsed: null });
      }
      if (logprobs?.content.length) this.#emit('logprobs.content.delta', { content: logprobs.content, snapshot: all!.content });
    }
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #listen(event: EventName, listener: Listener, once: boolean): this {
    const entries = this.#listeners.get(event) ?? [];
    this.#listeners.set(event, [...entries, { listener, once }]);
    return this;
  }

  #emit<E extends EventName>(event: E, ...args: Parameters<ChatCompletionStreamEvents[E]>): void {
    const entries = this.#listeners.get(event) ?? [];
    this.#listeners.set(event, entries.filter(({ once }) => !once));
    for (const { listener } of entries) (listener as (...args: unknown[]) => void)(...args);
  }
}

const NO_USAGE: CompletionUsage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0, prompt_tokens_details: { cached_tokens: 0 } };

/** Adds a chunk's part of a choice to what is there of it. */
function addChoice(snapshot: ChatCompletion, { index, delta, finish_reason, logprobs, ...facts }: ChatCompletionChunk['choices'][number]): void {
  // The facts come with the end, before anybody is given the whole.
  const choice = (snapshot.choices[index] ??= {
    index, message: { role: 'assistant', content: '', refusal: null }, finish_reason: null, logprobs: null,
  } as unknown as ChatCompletionChoice);
  const { routing, ...others } = facts;
  Object.assign(choice, others);
  if (routing) choice.routing = [...(choice.routing ?? []), ...routing];
  if (finish_reason) choice.finish_reason = finish_reason;
  if (delta.content) choice.message.content += delta.content;
  if (logprobs) choice.logprobs = { content: [...(choice.logprobs?.content ?? []), ...logprobs.content], refusal: null };
}
