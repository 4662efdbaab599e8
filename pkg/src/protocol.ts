/**
 * What the page and the worker say to each other. The page sends `Request`s; the worker serves them side by side, taking
 * turns at the GPU, and answers each with any number of events and exactly one result or error.
 */
import type { BenchmarkOptions, BenchmarkProgress, BenchmarkReport } from './benchmark.js';
import type { WireError } from './errors.js';
import type { Facts, StoredDamage, StoredFacts } from './facts.js';
import type { WasmSource } from './module.js';
import type { StoredModel } from './store.js';
import type { Capability, ChatMessage, GenerateOptions, GeneratedToken, Generation, KernelVariant, LoadProgress, LogitsTrace, PromptProgress, Score } from './types.js';

/** A file of a picked folder under its name in the checkpoint ("config.json"). */
export interface NamedFile {
  name: string;
  file: File;
}

/**
 * A source on the web, in absolute URLs: a folder, or each file; tokens by origin. Of a repository on a Hugging Face hub, its
 * page, and where its files are listed.
 */
export type WireWeb = ({ url: string } | { files: Record<string, string> }) & { page?: string; listing?: string; tokens?: Record<string, string> };

export type WireSource = ({ web: WireWeb } | { files: NamedFile[] } | { directory: FileSystemDirectoryHandle } | { synthetic: string }) & {
  store?: WireStore;
};

/** How a source's files are kept: under which name, on this device or only held against `integrity`. */
export interface WireStore {
  id: string;
  revision: string;
  keep: boolean;
  only: boolean;
  writes: boolean;
  integrity: Record<string, string>;
}

export interface WireLoadOptions {
  contextLength?: number;
  kv?: 'i8' | 'f16' | 'f32';
  chunkTokens?: number;
  lowPower?: boolean;
  variant?: KernelVariant;
}

export type WireBenchmark = Omit<BenchmarkOptions, 'onProgress' | 'signal'>;

/** How far a load has come: in bytes, pipelines or passes, by stage; or how long a server is waited for, 0 when that is over. */
export type WireProgress =
  | {
      stage: Exclude<LoadProgress['stage'], 'starting' | 'ready'>;
      done: number;
      total: number;
      /** Of all weights; 0 until known. */
      bytesTotal: number;
      quantizes: boolean;
      /** From the web, not from files at hand. */
      fetches: boolean;
    }
  | { waitMs: number; reason: string };

export type WirePrompt = { messages: readonly ChatMessage[] } | { text: string } | { ids: Uint32Array };

/** What the engine takes as it is; `seed` as its low and high 32 bits. */
export type WireOptions = Pick<
  GenerateOptions,
  'maxTokens' | 'temperature' | 'topK' | 'topP' | 'minP' | 'frequencyPenalty' | 'presencePenalty' | 'repetitionPenalty' | 'routing'
> & { logitBias?: [id: number, bias: number][]; stop?: string[]; topLogprobs?: number };

/** What the answer has to be, as the constraint's compiler takes it. */
export interface WireFormat {
  kind: 'json_object' | 'json_schema' | 'regex' | 'grammar';
  source: string;
}

export interface WireGenerate {
  prompt: WirePrompt;
  /** The session to use; without one, the worker keeps one for such calls. */
  session: number | undefined;
  /** How many answers to the one prompt. */
  choices: number;
  /** Of the first choice; those after it count on. */
  seed: number;
  options: WireOptions;
  format: WireFormat | undefined;
}

/** Of the `choice`-th answer: it began; how far its prompt is read; a token; text that was held back until its end. */
export type WireEvent = { choice: number } & (
  | { begun: true }
  | { prompt: PromptProgress }
  | { token: GeneratedToken }
  | { rest: string }
);

/** The WASM modules: an address, or the bytes in gzip. */
export interface WireModules {
  engine: WasmSource;
  constrain: WasmSource;
}

/** Every call: its arguments, its result, and the events on the way. */
export interface Calls {
  start: { args: [modules: WireModules]; result: void; event: never };
  load: { args: [source: WireSource, options: WireLoadOptions]; result: Facts; event: WireProgress };
  canRun: { args: [source: WireSource, options: WireLoadOptions]; result: Capability; event: never };
  generate: { args: [request: WireGenerate]; result: Generation[]; event: WireEvent };
  createSession: { args: []; result: number; event: never };
  forkSession: { args: [session: number]; result: number; event: never };
  freeSession: { args: [session: number]; result: void; event: never };
  tokenize: { args: [text: string, addSpecialTokens: boolean, parseSpecialTokens: boolean]; result: Uint32Array; event: never };
  detokenize: { args: [ids: Uint32Array, skipSpecialTokens: boolean]; result: string; event: never };
  applyChatTemplate: { args: [messages: readonly ChatMessage[], addGenerationPrompt: boolean]; result: string; event: never };
  tokenizeChat: { args: [messages: readonly ChatMessage[], addGenerationPrompt: boolean]; result: Uint32Array; event: never };
  logits: { args: [ids: Uint32Array, allPositions: boolean]; result: LogitsTrace; event: never };
  score: { args: [context: string | Uint32Array, continuation: string | Uint32Array]; result: Score; event: never };
  download: { args: [source: WireSource]; result: StoredFacts; event: WireProgress };
  storedModels: { args: []; result: StoredModel[]; event: never };
  verifyStored: { args: [id: string, revision: string]; result: StoredDamage[]; event: WireProgress };
  storedNames: { args: [id: string, revision: string]; result: { folder: string; names: string[] }; event: never };
  deleteStored: { args: [id: string, revision: string]; result: void; event: never };
  benchmark: { args: [options: WireBenchmark]; result: BenchmarkReport; event: BenchmarkProgress };
}

export type Method = keyof Calls;
/** `aborted`: it was aborted before it was sent, and is to be served as such. */
export type Call<M extends Method = Method> = {
  [K in M]: { id: number; method: K; args: Calls[K]['args']; aborted: boolean };
}[M];

/** Page to worker. `taken`: so many events more of that call were read, and need not be waited for. */
export type Request = Call | { abort: number } | { taken: number; events: number };

/** Worker to page. `fatal`: the worker can serve nothing more. */
export type Reply =
  | { id: number; event: Calls[Method]['event'] }
  | { id: number; result: Calls[Method]['result'] }
  | { id: number; error: WireError }
  | { fatal: WireError }
  /** The worker's first word: its script runs. */
  | { running: true };
