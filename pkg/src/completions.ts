/** `chat.completions` and `completions`, as the OpenAI client has them. */
import { ChatCompletionStream, parsedCompletion, parserOf } from './chat-stream.js';
import { bad, isObject, reading } from './check.js';
import { CompletionStream } from './completion-stream.js';
import type { Connection } from './connection.js';
import { abortReason, isPlainAbort, MobileMoEError } from './errors.js';
import {
  type ChatCompletion,
  type ChatCompletionChunk,
  type ChatCompletionCreateParams,
  type ChatCompletionCreateParamsNonStreaming,
  type ChatCompletionCreateParamsStreaming,
  type ChatCompletionStreamParams,
  type ChatCompletionTokenLogprob,
  type ChoiceFacts,
  type Completion,
  type CompletionChunk,
  type CompletionCreateParams,
  type CompletionCreateParamsNonStreaming,
  type CompletionCreateParamsStreaming,
  type CompletionUsage,
  type ParsedChatCompletion,
  type RequestOptions,
  type Routing,
  type TextLogprobs,
  type TopLogprob,
} from './openai.js';
import { type Asked, askedOfChat, askedOfText, requestOptions } from './openai-request.js';
import type { WireEvent } from './protocol.js';
import { EventStream, textOf } from './stream.js';
import type { GeneratedToken, Generation } from './types.js';

/** What answers, and what it calls itself: another one once the engine loaded another model. */
export interface Served {
  connection: Connection;
  model: string;
  fingerprint: string;
}

export class ChatCompletions {
  readonly #served: () => Served;

  /** @internal */
  constructor(served: () => Served) {
    this.#served = served;
  }

  /**
   * Answers a conversation. What it shares with the conversation of the call before is not computed again.
   *
   * @throws MobileMoEError - "Unsupported" names what cannot be done, "BadOptions" and "Option" what is not as it must be.
   */
  create(params: ChatCompletionCreateParamsStreaming, options?: RequestOptions): Promise<CompletionStream<ChatCompletionChunk>>;
  create(params: ChatCompletionCreateParamsNonStreaming, options?: RequestOptions): Promise<ChatCompletion>;
  create(params: ChatCompletionCreateParams, options?: RequestOptions): Promise<CompletionStream<ChatCompletionChunk> | ChatCompletion>;
  async create(params: ChatCompletionCreateParams, options?: RequestOptions) {
    const asked = reading(() => askedOfChat(params));
    const served = this.#served();
    const head = headOf('chatcmpl', asked, served);
    const answer = new Answer(served.connection, asked, reading(() => requestOptions(options)));
    if (asked.stream) return answer.stream((chunk) => chatChunk(head, asked, chunk));
    const { choices, usage } = await answer.whole();
    return {
      ...head,
      object: 'chat.completion' as const,
      choices: choices.map(({ index, text, tokens, generation, finish_reason }) => ({
        index,
        message: { role: 'assistant' as const, content: text, refusal: null },
        finish_reason,
        logprobs: asked.logprobs ? chatLogprobs(tokens) : null,
        ...routing(asked, tokens),
        ...facts(generation),
      })),
      usage,
    };
  }

  /**
   * An answer with events (`content`, `chunk`, `finalContent`, ...), whose chunks can be iterated, and which is put together:
   * `finalChatCompletion()`, `finalMessage()`, `finalContent()`. What is wrong with the request comes by the event `error`, and to
   * whoever waits.
   */
  stream(params: ChatCompletionStreamParams, options?: RequestOptions): ChatCompletionStream {
    const start = async (own: AbortSignal) => {
      isObject(params, 'params');
      const { signal } = reading(() => requestOptions(options));
      const signals = signal ? AbortSignal.any([signal, own]) : own;
      const stream_options = { ...params.stream_options, include_usage: true };
      return this.create({ ...params, stream: true, stream_options }, { ...options, signal: signals });
    };
    return new ChatCompletionStream(start, parserOf(params?.response_format), params?.stream_options?.include_usage ?? false);
  }

  /**
   * As `create`, and under a JSON Schema `message.parsed` is what the answer says.
   *
   * @throws MobileMoEError - "UnfinishedAnswer" if an answer was cut off before its JSON was whole.
   */
  async parse(params: ChatCompletionCreateParamsNonStreaming, options?: RequestOptions): Promise<ParsedChatCompletion> {
    isObject(params, 'params');
    if (params.stream) throw bad('stream', 'stream is true; parse() gives a whole answer: leave it out, or call stream()');
    return parsedCompletion(await this.create(params, options), parserOf(params.response_format));
  }
}

export class Completions {
  readonly #served: () => Served;

  /** @internal */
  constructor(served: () => Served) {
    this.#served = served;
  }

  /**
   * Continues texts or token ids as they are, without a template; begin-of-text is put before a text. With several
   * prompts, the choices of the first come first.
   */
  create(params: CompletionCreateParamsStreaming, options?: RequestOptions): Promise<CompletionStream<CompletionChunk>>;
  create(params: CompletionCreateParamsNonStreaming, options?: RequestOptions): Promise<Completion>;
  create(params: CompletionCreateParams, options?: RequestOptions): Promise<CompletionStream<CompletionChunk> | Completion>;
  async create(params: CompletionCreateParams, options?: RequestOptions) {
    const asked = reading(() => askedOfText(params));
    const served = this.#served();
    const head = headOf('cmpl', asked, served);
    const answer = new Answer(served.connection, asked, reading(() => requestOptions(options)));
    if (asked.stream) {
      const offsets: Offsets[] = []; // of each choice
      return answer.stream((chunk) => textChunk(head, asked, chunk, offsets));
    }
    const { choices, usage } = await answer.whole();
    return {
      ...head,
      object: 'text_completion' as const,
      choices: choices.map(({ index, text, tokens, generation, finish_reason }) => ({
        index,
        text,
        finish_reason,
        logprobs: asked.logprobs ? textLogprobs(tokens, new Offsets(asked)) : null,
        ...routing(asked, tokens),
        ...facts(generation),
      })),
      usage,
    };
  }
}

interface Head {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}

function headOf(kind: string, { model }: Asked, served: Served): Head {
  return {
    id: `${kind}-${crypto.randomUUID()}`,
    created: Math.floor(Date.now() / 1000),
    model: model ?? served.model,
    system_fingerprint: served.fingerprint,
  };
}

/** What a chunk tells: a choice's begin, some of its text (with the token it came with), its end; or the usage. */
type Part =
  | { index: number; begun: true }
  | { index: number; text: string; token: GeneratedToken | undefined }
  | { index: number; generation: Generation; finish_reason: 'stop' | 'length' }
  | { usage: CompletionUsage };

interface Whole {
  index: number;
  text: string;
  tokens: GeneratedToken[];
  generation: Generation;
  finish_reason: 'stop' | 'length';
}

/** The answer to a request: all choices of all its prompts. */
class Answer {
  readonly #asked: Asked;
  readonly #signal: AbortSignal | undefined;
  readonly #controller = new AbortController();
  readonly #events: EventStream<WireEvent, Generation[]>;

  constructor(connection: Connection, asked: Asked, { signal, session }: ReturnType<typeof requestOptions>) {
    if (signal?.aborted) throw abortReason(signal);
    this.#asked = asked;
    this.#signal = signal;
    const request = { ...asked.request, session };
    const { choices } = request;
    const abort = signal ? AbortSignal.any([signal, this.#controller.signal]) : this.#controller.signal;
    this.#events = new EventStream(async (onEvent, signal) => {
      const calls = asked.prompts.map((prompt, i) => connection.call('generate', [{ ...request, prompt }], {
        onEvent: (event, taken) => onEvent({ ...event, choice: i * choices + event.choice }, taken),
        signal,
      }));
      try {
        return (await Promise.all(calls)).flat();
      } catch (error) {
        this.#controller.abort(); // or the other prompts' answers would run to their end, heard by nobody
        throw blamed(error, asked);
      }
    }, abort);
  }

  async whole(): Promise<{ choices: Whole[]; usage: CompletionUsage }> {
    const tokens: GeneratedToken[][] = [];
    for await (const event of this.#events) {
      if ('begun' in event) tokens[event.choice] = [];
      if ('token' in event) tokens[event.choice]!.push(event.token);
    }
    const generations = await this.#events.result;
    const choices = generations.map((generation, index) => {
      const { finishReason, text } = generation;
      if (finishReason === 'abort') throw this.#aborted();
      return { index, text, tokens: tokens[index]!, generation, finish_reason: finish(finishReason) };
    });
    return { choices, usage: this.#usage(generations) };
  }

  /** Resolves when the answer has begun: what is wrong with the request rejects before, and so does an abort. */
  async stream<Chunk>(chunkOf: (part: Part) => Chunk | undefined): Promise<CompletionStream<Chunk>> {
    await this.#events.begun;
    if (this.#signal?.aborted) throw this.#aborted();
    return new CompletionStream(this.#chunks(chunkOf), this.#controller);
  }

  async *#chunks<Chunk>(chunkOf: (part: Part) => Chunk | undefined): AsyncGenerator<Chunk, void, undefined> {
    for await (const part of this.#parts()) {
      const chunk = chunkOf(part);
      if (chunk) yield chunk;
    }
  }

  async *#parts(): AsyncGenerator<Part, void, undefined> {
    for await (const event of this.#events) {
      const index = event.choice;
      if ('prompt' in event) continue;
      if ('begun' in event) yield { index, begun: true };
      else yield { index, text: textOf(event), token: 'token' in event ? event.token : undefined };
    }
    const generations = await this.#events.result;
    for (const [index, generation] of generations.entries()) {
      if (generation.finishReason === 'abort') {
        // As with the OpenAI client, an abort ends the loop; one with a reason of the caller's own (a timeout) is no ordinary end.
        if (this.#signal?.aborted && !isPlainAbort(this.#signal.reason)) throw this.#signal.reason;
        return;
      }
      yield { index, generation, finish_reason: finish(generation.finishReason) };
    }
    if (this.#asked.includeUsage) yield { usage: this.#usage(generations) };
  }

  #aborted(): unknown {
    return this.#signal?.aborted ? abortReason(this.#signal) : new MobileMoEError('Aborted', 'The call was aborted.');
  }

  #usage(generations: Generation[]): CompletionUsage {
    // The choices of one prompt share it: what the first one found in the cache is what counts.
    const firsts = generations.filter((_, i) => i % this.#asked.request.choices === 0);
    const prompt_tokens = sum(firsts.map(({ promptTokens }) => promptTokens));
    const completion_tokens = sum(generations.map(({ tokens }) => tokens.length));
    return {
      prompt_tokens,
      completion_tokens,
      total_tokens: prompt_tokens + completion_tokens,
      prompt_tokens_details: { cached_tokens: sum(firsts.map(({ cachedTokens }) => cachedTokens)) },
    };
  }
}

/** What the engine refuses, with the parameter it is about. */
function blamed(error: unknown, { prompts }: Asked): unknown {
  if (!(error instanceof MobileMoEError) || error.param !== null) return error;
  const { code, message } = error;
  const prompt = prompts.some((prompt) => 'messages' in prompt) ? 'messages' : 'prompt';
  const params: Record<string, string | undefined> = {
    Option: /^option (\w+)/.exec(message)?.[1],
    BadConstraint: 'response_format',
    EmptyStopString: 'stop',
    PromptTooLong: prompt,
    EmptyPrompt: prompt,
    TokenOutOfRange: prompt,
  };
  return Object.hasOwn(params, code) ? new MobileMoEError(code, message, { cause: error, param: params[code] }) : error;
}

function chatChunk(head: Head, asked: Asked, part: Part): ChatCompletionChunk | undefined {
  const envelope = { ...head, object: 'chat.completion.chunk' as const };
  if ('usage' in part) return { ...envelope, choices: [], usage: part.usage };
  const chunk = (choice: Omit<ChatCompletionChunk['choices'][number], 'index'>) => ({
    ...envelope,
    choices: [{ index: part.index, ...choice }],
    ...(asked.includeUsage && { usage: null }),
  });
  if ('begun' in part) return chunk({ delta: { role: 'assistant', content: '' }, finish_reason: null, logprobs: null });
  if ('generation' in part) {
    return chunk({ delta: {}, finish_reason: part.finish_reason, logprobs: null, ...facts(part.generation) });
  }
  const tokens = reported(asked, part.token);
  if (!part.text && !tokens.length) return undefined;
  const logprobs = asked.logprobs && tokens.length ? chatLogprobs(tokens) : null;
  return chunk({ delta: { content: part.text }, finish_reason: null, logprobs, ...routing(asked, tokens) });
}

function textChunk(head: Head, asked: Asked, part: Part, offsets: Offsets[]): CompletionChunk | undefined {
  const envelope = { ...head, object: 'text_completion' as const };
  if ('usage' in part) return { ...envelope, choices: [], usage: part.usage };
  if ('begun' in part) return undefined;
  const chunk = (choice: Omit<CompletionChunk['choices'][number], 'index'>) => ({
    ...envelope,
    choices: [{ index: part.index, ...choice }],
    ...(asked.includeUsage && { usage: null }),
  });
  if ('generation' in part) {
    return chunk({ text: '', finish_reason: part.finish_reason, logprobs: null, ...facts(part.generation) });
  }
  const tokens = reported(asked, part.token);
  if (!part.text && !tokens.length) return undefined;
  const ofChoice = (offsets[part.index] ??= new Offsets(asked));
  const logprobs = asked.logprobs && tokens.length ? textLogprobs(tokens, ofChoice) : null;
  return chunk({ text: part.text, finish_reason: null, logprobs, ...routing(asked, tokens) });
}

/** The token, if something was to be told of it beside its text. */
function reported(asked: Asked, token: GeneratedToken | undefined): GeneratedToken[] {
  return token && (asked.logprobs || asked.request.options.routing) ? [token] : [];
}

function finish(reason: Exclude<Generation['finishReason'], 'abort'>): 'stop' | 'length' {
  return reason === 'length' ? 'length' : 'stop';
}

function facts({ seed, queuedMs, firstTokenMs, prefillMs, decodeMs, tokensPerSecond, memory }: Generation): ChoiceFacts {
  return {
    seed,
    timings: {
      queued_ms: queuedMs,
      first_token_ms: firstTokenMs,
      prefill_ms: prefillMs,
      decode_ms: decodeMs,
      tokens_per_second: tokensPerSecond,
    },
    memory: {
      weight_bytes: memory.weightBytes,
      scratch_bytes: memory.scratchBytes,
      kv_bytes: memory.kvBytes,
      heap_bytes: memory.heapBytes,
    },
  };
}

function routing(asked: Asked, tokens: GeneratedToken[]): { routing?: Routing[] } {
  if (!asked.request.options.routing) return {};
  return { routing: tokens.map(({ experts, weights }) => ({ experts: experts!, weights: weights! })) };
}

function chatLogprobs(tokens: GeneratedToken[]): { content: ChatCompletionTokenLogprob[]; refusal: null } {
  const content = tokens.map(({ id, bytes, logprob, top }) => ({
    ...named(id, logprob!, bytes),
    top_logprobs: top!.map(({ id, bytes, logprob }) => named(id, logprob, bytes)),
  }));
  return { content, refusal: null };
}

function textLogprobs(tokens: GeneratedToken[], offsets: Offsets): TextLogprobs {
  const name = ({ id, bytes }: { id: number; bytes?: Uint8Array | undefined }) => named(id, 0, bytes).token;
  return {
    tokens: tokens.map(name),
    token_logprobs: tokens.map(({ logprob }) => logprob!),
    top_logprobs: tokens.map(({ top }) => Object.fromEntries(top!.map((token) => [name(token), token.logprob]))),
    text_offset: tokens.map((token) => offsets.next(token)),
  };
}

/** Where in its answer's text each token begins. What may become a stop string is given out later than with its token. */
class Offsets {
  readonly #stops: readonly string[];
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #given = 0;
  #held = '';

  constructor({ request }: Asked) {
    this.#stops = request.options.stop ?? [];
  }

  next({ text, bytes }: GeneratedToken): number {
    const offset = this.#given + this.#held.length;
    const ungiven = this.#held + this.#decoder.decode(bytes, { stream: true });
    this.#given += text.length;
    // A special token is neither given out nor held back: it is no text.
    if (text || this.#stops.some((stop) => stop.startsWith(ungiven))) this.#held = ungiven.slice(text.length);
    return offset;
  }
}

/** A token as OpenAI names it: by its text. Without a tokenizer, by its number. */
function named(id: number, logprob: number, bytes: Uint8Array | undefined): TopLogprob {
  return bytes ? { token: spelled(bytes), logprob, bytes: [...bytes] } : { token: `${id}`, logprob, bytes: null };
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The bytes' text; a part of a character as `bytes:\xf0\x9f`, as OpenAI has it. */
function spelled(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    return `bytes:${[...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
  }
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
