import type { ResponseFormat } from './response-format.js';
import type { SourceOptions } from './source.js';
import type { EngineFiles } from './spawn.js';

/** How far loading has come. */
export interface LoadProgress {
  /**
   * `starting`: worker and WASM; `waiting`: another page loads or stores the same model; `opening`: config, tokenizer, headers, GPU
   * device; `measuring`: which kernels are fastest here, at the first load; `compiling`: pipelines; `weights`: fetched, or read,
   * quantized if need be, to the GPU; `warming-up`: a first pass, because some drivers compile then only; `ready`: `load` is about to
   * resolve.
   */
  stage: 'starting' | 'waiting' | 'opening' | 'measuring' | 'compiling' | 'weights' | 'warming-up' | 'ready';
  /** From 0 to 1, all stages together, for a bar. It never goes back, and is 1 when `load` is about to resolve. */
  fraction: number;
  /** What goes on, for people: "Fetching: 120 of 714 MB", "Compiling kernels: 3 of 22", "Waiting 12 s: the server is busy". */
  text: string;
  /** Weight bytes on the GPU so far. */
  bytesDone: number;
  /** All weight bytes; 0 until the headers are read. */
  bytesTotal: number;
  /** Smoothed rate, 0 until known. */
  bytesPerSecond: number;
  /** Estimate from the smoothed rate; `undefined` until known. */
  secondsLeft: number | undefined;
}

export interface LoadOptions extends SourceOptions, EngineFiles {
  onProgress?: (progress: LoadProgress) => void;
  /** Aborting rejects `load` with code "Aborted" and frees the worker and its GPU buffers. */
  signal?: AbortSignal;
  /** Longest conversation in tokens; default and upper bound: what the checkpoint was made for. */
  contextLength?: number;
  /** How keys and values are stored: in 16 bits (default), in 8, which takes half the memory and costs some accuracy, or in 32, for checks. */
  kv?: 'i8' | 'f16' | 'f32';
  /** Prompt tokens per pass; default: chosen by the engine for the device. */
  chunkTokens?: number;
  device?: DeviceOptions;
  /** Which kernels to run; default: measured when this adapter first loads a model, and remembered. */
  variant?: KernelVariant;
}

/**
 * The kernels' forms: all compute the same, at different speeds, some with less precision. Both begin with `thread` or neither
 * does (code "MixedStyles"): the styles want the experts' weights in different orders.
 */
export interface KernelVariant {
  /** For one token at a time. */
  decode: KernelForm;
  /** For prompts. */
  prefill: KernelForm;
}

/**
 * `thread`: each thread works by itself, or four at a time for prompts (`thread-subgroups-tile8`). `workgroup`: groups of threads
 * add up their parts. Behind it, what else differs: the inputs of matrices as INT8 (`-int8`; `-packed` with the packed dot
 * product of WGSL), or in half precision (`-f16`, needs "shader-f16"); sums by subgroup operations (`-subgroups`); 8 prompt
 * tokens, not 4, that share a read of the weights (`-tile8`; for prompts). A form that the device cannot run is refused with
 * code "MissingFeature".
 */
export type KernelForm =
  | 'thread'
  | 'thread-subgroups-tile8'
  | `workgroup${'' | '-int8' | '-packed' | '-f16'}${'' | '-subgroups'}${'' | '-tile8'}`;

export interface DeviceOptions {
  /** Which GPU where there are several: the fastest (default) or the one that saves power. */
  powerPreference?: 'high-performance' | 'low-power';
}

/** Whether a checkpoint can run here, found out from its `config.json` and the adapter. */
export interface Capability {
  /** Nothing that can be found out beforehand stands in the way. */
  ok: boolean;
  /** What does: "NoWebGpu", "NoAdapter", "AdapterLimit", "Memory"; the message says how to get past it. */
  missing: { code: string; message: string }[];
  /** `undefined` where there is none. */
  adapter: AdapterFacts | undefined;
  memory: MemoryPlan;
}

/** What the browser tells of a GPU. */
export interface AdapterFacts {
  name: string;
  vendor: string;
  architecture: string;
  /** A software renderer: right, but slow. */
  isFallback: boolean;
  /** The optional features it has; none is required. */
  features: string[];
  /** Largest buffer, in bytes. */
  maxBufferSize: number;
  /** Largest part of a buffer that one kernel can see, in bytes. */
  maxStorageBufferBindingSize: number;
}

/** What a checkpoint takes on the GPU, in bytes, and what there is. */
export interface MemoryPlan {
  weightBytes: number;
  /** Activations, logits and tables. */
  scratchBytes: number;
  kvBytesPerToken: number;
  /** Longest conversation that is planned for, in tokens. */
  contextLength: number;
  /** To begin: weights, scratch and a conversation's first 256 tokens. */
  neededBytes: number;
  /** With one conversation as long as `contextLength`. */
  mostBytes: number;
  largestBufferBytes: number;
  largestBindingBytes: number;
  /**
   * The device's memory, as far as the browser tells: rounded, 8 GiB at most, Chromium only. What of it a page may use,
   * and how much memory a GPU has, no browser tells.
   */
  deviceBytes: number | undefined;
}

/** What to continue: a conversation (rendered by the checkpoint's own template), a text (begin-of-text is put before it), or token ids. */
export type Prompt = string | readonly ChatMessage[] | ArrayLike<number>;

/** One turn of a conversation, as the checkpoint's own chat template takes it. */
export interface ChatMessage {
  role: 'system' | 'user' | 'assistant' | (string & {});
  content: string | readonly { type: 'text'; text: string }[];
}

export interface GenerateOptions {
  /** Most tokens to generate; default: what is left of the context. */
  maxTokens?: number;
  /** 0 or omitted = greedy (the likeliest token, as the model card decodes); 1 = the model's own distribution. Up to 100. */
  temperature?: number;
  /** Sample among the k likeliest tokens; 0 (default) = all. */
  topK?: number;
  /** Sample among the likeliest tokens that together hold this probability; 1 (default) = all. In (0, 1]. */
  topP?: number;
  /** Drop tokens less likely than this fraction of the likeliest; 0 (default) = none. In [0, 1]. */
  minP?: number;
  /** Same seed, same prompt, same options: same tokens. A safe integer; default: a fresh one for each call. */
  seed?: number;
  /** Taken off a token's logit once for each time it is in the answer; 0 (default) = off. In [-100, 100]. */
  frequencyPenalty?: number;
  /** Taken off a token's logit if it is in the answer; 0 (default) = off. In [-100, 100]. */
  presencePenalty?: number;
  /** Divides the positive logits, and multiplies the others, of tokens in prompt or answer; 1 (default) = off. In (0, 100]. */
  repetitionPenalty?: number;
  /** Added to logits, by token id; -100 all but forbids a token, 100 all but forces it. In [-10000, 10000]. */
  logitBias?: Readonly<Record<number, number>>;
  /** Strings that end the answer; they and what follows them are not part of it. */
  stop?: string | readonly string[];
  /**
   * Report each token's log-probability, and so many of the likeliest tokens at its place (0 to 20). They are the
   * model's own: temperature 1, before penalties and bias.
   */
  logprobs?: number;
  /** What the answer has to be: JSON, under a schema or not, or what a regex or a grammar allows; default: any text. */
  responseFormat?: ResponseFormat;
  /** Report the experts that each token took. */
  routing?: boolean;
  /** Hears of every chunk of a long prompt. */
  onPrompt?: (progress: PromptProgress) => void;
  /** Aborting ends the stream with finish reason "abort", within one token; what was generated is kept. */
  signal?: AbortSignal;
}

/** How much of a prompt is read, in tokens. */
export interface PromptProgress {
  done: number;
  total: number;
}

/** A token and its probability. */
export interface TokenLogprob {
  id: number;
  /** Natural logarithm of its probability. */
  logprob: number;
  /** What it stands for, in UTF-8; a character may be split over tokens. `undefined` without a tokenizer. */
  bytes: Uint8Array | undefined;
}

/** One generated token. */
export interface GeneratedToken {
  id: number;
  /** The text that became certain with it: often empty inside an emoji, or while it may still become a stop string. */
  text: string;
  /** With `logprobs`: natural logarithm of its probability. */
  logprob?: number;
  /** With `logprobs`: what it stands for. */
  bytes?: Uint8Array;
  /** With `logprobs`: the likeliest tokens at its place, by falling probability. */
  top?: TokenLogprob[];
  /** With `routing`: `[MoE layers, expertsPerToken]`, the experts that the pass took that chose it. */
  experts?: Uint32Array;
  /** With `routing`: what each expert's output was multiplied by, same shape. */
  weights?: Float32Array;
}

/**
 * Why a generation ended: the model's own end token, `maxTokens` or a full context, the caller's abort, or one of the
 * caller's stop strings.
 */
export type FinishReason = 'stop' | 'length' | 'abort' | 'stop_string';

/** What a finished generation reports. */
export interface Generation {
  /** The whole answer: all streamed pieces joined; empty without a tokenizer. */
  text: string;
  finishReason: FinishReason;
  /** The generated ids, the stop token excluded. */
  tokens: Uint32Array;
  /** Length of the whole prompt, in tokens. */
  promptTokens: number;
  /** Prompt tokens that the session's cache held already, so not computed again. */
  cachedTokens: number;
  /** The seed in force: give it back to repeat a sampled answer. */
  seed: number;
  /** Time the call waited for others before it began, in milliseconds. */
  queuedMs: number;
  /** From the call to its first token, in milliseconds; `undefined` when there is none. */
  firstTokenMs: number | undefined;
  /** From the begin of the work to the first token (or the end), in milliseconds; includes the turns of other generations. */
  prefillMs: number;
  /** From the first token to the last, in milliseconds; includes the turns of other generations. */
  decodeMs: number;
  /** Decode rate after the first token; 0 when fewer than two tokens were generated. */
  tokensPerSecond: number;
  memory: Memory;
}

/** What the engine holds, in bytes. */
export interface Memory {
  /** Weights on the GPU. */
  weightBytes: number;
  /** Activations, logits and tables on the GPU. */
  scratchBytes: number;
  /** The KV cache of this session on the GPU. */
  kvBytes: number;
  /** CPU memory of the WASM module. */
  heapBytes: number;
}

/** How likely a continuation is. */
export interface Score {
  /** Natural-log probability of each continuation id, given all ids before it. */
  logprobs: Float32Array;
  /** Greedy decoding would have produced exactly this continuation. */
  isGreedy: boolean;
}

/** What the router and the LM head computed for given ids. */
export interface LogitsTrace {
  /** `[positions, vocabSize]`, row-major. One position (the last) unless `allPositions`. */
  logits: Float32Array;
  /** `[MoE layers, ids, expertsPerToken]`: the experts chosen, by falling choice score. */
  experts: Uint32Array;
  /** Their weights, same shape. */
  weights: Float32Array;
  vocabSize: number;
}
