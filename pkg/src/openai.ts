/**
 * The OpenAI API's shapes, as far as a MobileMoE can serve them, so that what its official client gives and takes is
 * given and taken here. What is ours beside them is marked.
 */

import type { ResponseFormat } from './response-format.js';
import type { Session } from './session.js';

/** `developer` is rendered as `system`. Only text can be read. */
export interface ChatCompletionMessageParam {
  role: 'system' | 'developer' | 'user' | 'assistant';
  content: string | readonly { type: 'text'; text: string }[];
  /** A label; templates of these models have no place for it. */
  name?: string;
  /** Of an answer that is given back: nothing but `null`, and empty lists. */
  refusal?: string | null;
  annotations?: readonly unknown[] | null;
  tool_calls?: readonly unknown[] | null;
}

/** What both kinds of requests take. Ranges and defaults: `GenerateOptions`. Greedy unless `temperature` says otherwise. */
export interface CompletionParams {
  /** A label, given back in the response; the engine has one model. */
  model?: string;
  /** Default, and -1: what is left of the context. */
  max_tokens?: number | null;
  /** How many answers. */
  n?: number | null;
  /** Up to any number of strings that end the answer and are not part of it. */
  stop?: string | readonly string[] | null;
  stream?: boolean | null;
  /** With `include_usage`, a last chunk without choices tells the usage. */
  stream_options?: { include_usage?: boolean; include_obfuscation?: boolean } | null;
  temperature?: number | null;
  top_p?: number | null;
  seed?: number | null;
  /** Token id to what is added to its logit. */
  logit_bias?: Readonly<Record<string, number>> | null;
  frequency_penalty?: number | null;
  presence_penalty?: number | null;
  /** In completions, ours. */
  response_format?: ResponseFormat | null;
  /** Ours. */
  top_k?: number | null;
  /** Ours. */
  min_p?: number | null;
  /** Ours. */
  repetition_penalty?: number | null;
  /** Ours: report the experts that each token took. */
  routing?: boolean | null;
  /** A label; it changes nothing, and goes nowhere. */
  user?: string;
}

/**
 * Fields of OpenAI's that only their servers have a use for. Labels and hints are taken; what would change the answer only with the
 * value that asks for nothing, here named.
 */
export interface ServerParams {
  metadata?: Readonly<Record<string, string>> | null;
  safety_identifier?: string | null;
  prompt_cache_key?: string | null;
  prompt_cache_retention?: string | null;
  /** `false` */
  store?: boolean | null;
  /** `"auto"`, `"default"` */
  service_tier?: string | null;
  /** `["text"]` */
  modalities?: readonly string[] | null;
  /** `"none"` */
  reasoning_effort?: string | null;
  /** `"medium"` */
  verbosity?: string | null;
  parallel_tool_calls?: boolean;
}

export interface ChatCompletionCreateParams extends ServerParams, CompletionParams {
  messages: readonly ChatCompletionMessageParam[];
  max_completion_tokens?: number | null;
  /** Report each token's log-probability: the model's own, at temperature 1, before penalties and bias. */
  logprobs?: boolean | null;
  /** And so many of the likeliest tokens at its place, 0 to 20. */
  top_logprobs?: number | null;
}
export type ChatCompletionCreateParamsStreaming = ChatCompletionCreateParams & { stream: true };
export type ChatCompletionCreateParamsNonStreaming = ChatCompletionCreateParams & { stream?: false | null };

/** Of `stream()`. */
export type ChatCompletionStreamParams = ChatCompletionCreateParams & { stream?: true | null };

export interface CompletionCreateParams extends CompletionParams {
  /** One text or one list of token ids, or several of them, each answered `n` times. */
  prompt: string | readonly string[] | readonly number[] | readonly (readonly number[])[];
  /** Report each token's log-probability, and so many of the likeliest tokens at its place. */
  logprobs?: number | null;
}
export type CompletionCreateParamsStreaming = CompletionCreateParams & { stream: true };
export type CompletionCreateParamsNonStreaming = CompletionCreateParams & { stream?: false | null };

export interface RequestOptions {
  /**
   * Aborting ends a stream within one token; a call that does not stream, or whose stream has not begun, rejects with the signal's
   * reason, as `fetch` does: with a "TimeoutError" for `AbortSignal.timeout`, with code "Aborted" if no reason was given. A
   * stream's loop ends without an error unless there is such a reason.
   */
  signal?: AbortSignal | null;
  /** In milliseconds: the whole answer; rejects with a "TimeoutError". */
  timeout?: number;
  /** Ours: whose cache to use; default: one that all such calls share. */
  session?: Session;
  /** There is no HTTP here: these ask for nothing. */
  headers?: unknown;
  maxRetries?: number;
  idempotencyKey?: string;
}

export interface CompletionUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  /** `cached_tokens`: those that the KV cache held already. */
  prompt_tokens_details: { cached_tokens: number };
}

/** Ours. In milliseconds; what they measure: `Generation`. */
export interface Timings {
  queued_ms: number;
  first_token_ms: number | undefined;
  prefill_ms: number;
  decode_ms: number;
  tokens_per_second: number;
}

/** Ours. Of one token: experts by falling choice score and their weights, `[MoE layers, experts_per_token]` each. */
export interface Routing {
  experts: Uint32Array;
  weights: Float32Array;
}

/** Ours: what the engine held at the end, in bytes. */
export interface MemoryUse {
  weight_bytes: number;
  scratch_bytes: number;
  kv_bytes: number;
  heap_bytes: number;
}

/** Ours, on a finished choice. */
export interface ChoiceFacts {
  /** Gives the same answer again. */
  seed: number;
  timings: Timings;
  memory: MemoryUse;
}

export interface TopLogprob {
  token: string;
  logprob: number;
  /** In UTF-8; a character may be split over tokens. */
  bytes: number[] | null;
}
export interface ChatCompletionTokenLogprob extends TopLogprob {
  top_logprobs: TopLogprob[];
}
export interface ChatLogprobs {
  content: ChatCompletionTokenLogprob[];
  refusal: null;
}

export interface ChatCompletion {
  id: string;
  object: 'chat.completion';
  /** Seconds since 1970. */
  created: number;
  model: string;
  /** The same as long as model, options of `load` and kernels are: then a seed gives the same answer. */
  system_fingerprint: string;
  choices: ChatCompletionChoice[];
  usage: CompletionUsage;
}
export interface ChatCompletionChoice extends ChoiceFacts {
  index: number;
  message: { role: 'assistant'; content: string; refusal: null };
  finish_reason: 'stop' | 'length';
  logprobs: ChatLogprobs | null;
  /** With `routing`: of each token. */
  routing?: Routing[];
}

/** Of `parse()` and `stream()`. */
export interface ParsedChatCompletion extends ChatCompletion {
  choices: (ChatCompletionChoice & { message: ChatCompletionChoice['message'] & { parsed: any } })[];
}

export interface ChatCompletionChunk {
  id: string;
  object: 'chat.completion.chunk';
  created: number;
  model: string;
  /** The same as long as model, options of `load` and kernels are: then a seed gives the same answer. */
  system_fingerprint: string;
  choices: ChatCompletionChunkChoice[];
  /** In the last chunk, if asked for. */
  usage?: CompletionUsage | null;
}
export interface ChatCompletionChunkChoice extends Partial<ChoiceFacts> {
  index: number;
  delta: { role?: 'assistant'; content?: string };
  finish_reason: 'stop' | 'length' | null;
  logprobs: ChatLogprobs | null;
  routing?: Routing[];
}

/** `text_offset`: where each token begins in the choice's text, in UTF-16 units; where a stop string would be in it, if that was met. */
export interface TextLogprobs {
  tokens: string[];
  token_logprobs: number[];
  top_logprobs: Record<string, number>[];
  text_offset: number[];
}
export interface Completion {
  id: string;
  object: 'text_completion';
  created: number;
  model: string;
  /** The same as long as model, options of `load` and kernels are: then a seed gives the same answer. */
  system_fingerprint: string;
  choices: CompletionChoice[];
  usage: CompletionUsage;
}
export interface CompletionChoice extends ChoiceFacts {
  index: number;
  text: string;
  finish_reason: 'stop' | 'length';
  logprobs: TextLogprobs | null;
  routing?: Routing[];
}
/** A piece of a streamed completion. `finish_reason` is `null` until the last. */
export interface CompletionChunk {
  id: string;
  object: 'text_completion';
  created: number;
  model: string;
  /** The same as long as model, options of `load` and kernels are: then a seed gives the same answer. */
  system_fingerprint: string;
  choices: CompletionChunkChoice[];
  usage?: CompletionUsage | null;
}
export interface CompletionChunkChoice extends Partial<ChoiceFacts> {
  index: number;
  text: string;
  finish_reason: 'stop' | 'length' | null;
  logprobs: TextLogprobs | null;
  routing?: Routing[];
}

/** What `models.list()` gives. */
export interface ModelList {
  object: 'list';
  data: { id: string; object: 'model'; created: number; owned_by: string }[];
}
