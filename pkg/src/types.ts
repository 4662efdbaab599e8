import type { SourceOptions } from './source.js';

/** How far loading has come. */
export interface LoadProgress {
  /** `starting`: worker and WASM; `opening`: config, tokenizer, headers, GPU device; `weights`: bytes to the GPU. */
  stage: 'starting' | 'opening' | 'weights';
  /** Weight bytes on the GPU so far. */
  bytesDone: number;
  /** All weight bytes; 0 until the headers are read. */
  bytesTotal: number;
  /** Smoothed rate, 0 until known. */
  bytesPerSecond: number;
  /** Estimate from the smoothed rate; `undefined` until known. */
  secondsLeft: number | undefined;
}

export interface LoadOptions extends SourceOptions {
  onProgress?: (progress: LoadProgress) => void;
  /** Aborting rejects `load` with code "Aborted" and frees the worker and its GPU buffers. */
  signal?: AbortSignal;
  /** Longest conversation in tokens; default and upper bound: what the checkpoint was made for. */
  contextLength?: number;
  /** How keys and values are stored: 16 bits (default) or 32, which costs twice the memory and is meant for checks. */
  kv?: 'f16' | 'f32';
  /** Prompt tokens per pass; default: chosen by the engine for the device. */
  chunkTokens?: number;
}

export interface SamplingOptions {
  /** Most tokens to generate; default 512, bounded by what is left of the context. */
  maxTokens?: number;
  /** 0 or omitted = greedy (the likeliest token); 1 = the model's own distribution. */
  temperature?: number;
  /** Sample among the k likeliest tokens; 0 (default) = all. */
  topK?: number;
  /** Sample among the likeliest tokens that together hold this probability; 1 (default) = all. In (0, 1]. */
  topP?: number;
  /** Drop tokens less likely than this fraction of the likeliest; 0 (default) = none. In [0, 1). */
  minP?: number;
  /** Same seed, same prompt, same options: same tokens. A 32-bit unsigned integer; default: a fresh one for each call. */
  seed?: number;
  /** Aborting ends the stream with finish reason "abort", within one token; what was generated is kept. */
  signal?: AbortSignal;
}

export interface TextOptions extends SamplingOptions {
  /** Strings that end the answer; they and what follows them are not part of it. */
  stop?: string | readonly string[];
}

/** One turn of a conversation, as the checkpoint's own chat template takes it. */
export interface ChatMessage {
  role: 'system' | 'user' | 'assistant' | (string & {});
  content: string | readonly { type: 'text'; text: string }[];
}

/**
 * Why a generation ended: the model's own end token, `maxTokens` or a full context, the caller's abort, or one of the
 * caller's stop strings.
 */
export type FinishReason = 'stop' | 'length' | 'abort' | 'stop_string';

/** What a finished generation reports. */
export interface Generation {
  finishReason: FinishReason;
  /** The generated ids, the stop token excluded. */
  tokens: Uint32Array;
  /** Length of the whole prompt, in tokens. */
  promptTokens: number;
  /** Prompt tokens already in the KV cache from the turn before, so not computed again. */
  cachedTokens: number;
  /** The seed in force: give it back to repeat a sampled answer. */
  seed: number;
  /** From the start of the work on this call to its first token, in milliseconds; `undefined` when there is none. */
  firstTokenMs: number | undefined;
  /** Time in the engine up to the first token, in milliseconds. */
  prefillMs: number;
  /** Time from the first token to the last, in milliseconds. */
  decodeMs: number;
  /** Decode rate after the first token; 0 when fewer than two tokens were generated. */
  tokensPerSecond: number;
}

export interface TextGeneration extends Generation {
  /** The whole answer: all streamed pieces joined. */
  text: string;
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
