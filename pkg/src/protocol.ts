/**
 * What the page and the worker say to each other. The page sends `Request`s; the worker serves them one after the other
 * and answers each with any number of events and exactly one result or error.
 */
import type { BenchmarkOptions, BenchmarkProgress, BenchmarkReport } from './benchmark.js';
import type { WireError } from './errors.js';
import type { ChatMessage, Generation, LogitsTrace, SamplingOptions, Score, TextGeneration } from './types.js';
import type { Facts } from './facts.js';

/** A file of a picked folder under its name in the checkpoint ("config.json"). */
export interface NamedFile {
  name: string;
  file: File;
}

/** A source on the web, in absolute URLs: a folder, or each file; `page`: the repository's, if it is on a Hugging Face hub. */
export type WireWeb = ({ url: string } | { files: Record<string, string> }) & { page?: string; token?: string };

export type WireSource = { web: WireWeb } | { files: NamedFile[] } | { directory: FileSystemDirectoryHandle } | { synthetic: string };

export interface WireLoadOptions {
  contextLength?: number;
  kv?: 'f16' | 'f32';
  chunkTokens?: number;
}

export type WireSampling = Omit<SamplingOptions, 'signal'>;
export type WireText = WireSampling & { stop: string[] };

export type WireBenchmark = Omit<BenchmarkOptions, 'onProgress' | 'signal'>;

export interface WireProgress {
  stage: 'opening' | 'weights';
  bytesDone: number;
  bytesTotal: number;
}

/** Every call: its arguments, its result, and the events on the way. */
export interface Calls {
  load: { args: [source: WireSource, options: WireLoadOptions]; result: Facts; event: WireProgress };
  chat: { args: [messages: readonly ChatMessage[], options: WireText]; result: TextGeneration; event: string };
  complete: { args: [prompt: string, options: WireText]; result: TextGeneration; event: string };
  generateTokens: { args: [ids: Uint32Array, options: WireSampling]; result: Generation; event: number };
  tokenize: { args: [text: string, addSpecialTokens: boolean, parseSpecialTokens: boolean]; result: Uint32Array; event: never };
  detokenize: { args: [ids: Uint32Array, skipSpecialTokens: boolean]; result: string; event: never };
  applyChatTemplate: { args: [messages: readonly ChatMessage[], addGenerationPrompt: boolean]; result: string; event: never };
  tokenizeChat: { args: [messages: readonly ChatMessage[], addGenerationPrompt: boolean]; result: Uint32Array; event: never };
  logits: { args: [ids: Uint32Array, allPositions: boolean]; result: LogitsTrace; event: never };
  score: { args: [context: Uint32Array, continuation: Uint32Array]; result: Score; event: never };
  benchmark: { args: [options: WireBenchmark]; result: BenchmarkReport; event: BenchmarkProgress };
}

export type Method = keyof Calls;
/** `aborted`: it was aborted before it was sent, and is to be served as such. */
export type Call<M extends Method = Method> = {
  [K in M]: { id: number; method: K; args: Calls[K]['args']; aborted: boolean };
}[M];

/** Page to worker. */
export type Request = Call | { abort: number };

/** Worker to page. `fatal`: the worker can serve nothing more. */
export type Reply =
  | { id: number; event: Calls[Method]['event'] }
  | { id: number; result: Calls[Method]['result'] }
  | { id: number; error: WireError }
  | { fatal: WireError };
