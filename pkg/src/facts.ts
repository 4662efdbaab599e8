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
}
