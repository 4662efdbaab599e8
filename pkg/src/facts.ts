import type { KernelVariant } from './types.js';

/** What was loaded and where it runs. */
export interface Facts {
  /** The GPU, as far as the browser tells. */
  adapter: string;
  /** The graphics API underneath. */
  backend: string;
  /** All weights on the GPU. */
  weightBytes: number;
  /** Activations, logits and tables on the GPU. */
  scratchBytes: number;
  /** Keys and values of one token on the GPU; the cache grows with the conversation. */
  kvBytesPerToken: number;
  /** How the cache stores keys and values. */
  kv: 'i8' | 'f16' | 'f32';
  /** The kernels that run: chosen by measurement unless `variant` was given. */
  variant: KernelVariant;
  /** Longest prompt and answer together, in tokens. */
  contextLength: number;
  /** Prompt tokens in one pass. */
  chunkTokens: number;
  /** GPU dispatches for one decoded token. */
  dispatchesPerToken: number;
  vocabSize: number;
  layers: number;
  /** Routed experts in a layer. */
  experts: number;
  /** Experts chosen for each token. */
  expertsPerToken: number;
  /** CPU memory of the WASM module. It never shrinks: after loading this is the load's peak, the tokenizer included. */
  heapBytes: number;
  /** What became of the files on this device; `null` if they did not come from the web, or `store` was "off". */
  stored: StoredFacts | null;
}

/** What became of a model's files on their way. */
export interface StoredFacts {
  /** The model's name in the store, with `revision`. */
  id: string;
  /** "" where there are none. */
  revision: string;
  /** All of it is on this device: the next load needs no network. */
  complete: boolean;
  bytesFetched: number;
  /** Read on this device, each chunk held against its hash. */
  bytesRead: number;
  /** What was not as it was stored, and was fetched again. */
  healed: StoredDamage[];
  /** What the whole files were held against: hashes that you gave, that the hub publishes, or nothing; `null` if they are not kept. */
  verified: 'sri' | 'sha256' | 'none' | null;
  /** Why the model is not kept: "StoreQuota", "StoreBusy", "StoreUnavailable"; the message says more. `null` if it is. */
  reason: { code: string; message: string } | null;
}

/** Bytes of a stored file that are not those that were stored. */
export interface StoredDamage {
  file: string;
  offsetBytes: number;
  endBytes: number;
}
