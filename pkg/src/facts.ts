/** What was loaded and where it runs. */
export interface Facts {
  /** The GPU, as far as the browser tells. */
  adapter: string;
  /** Bytes of all GPU buffers: weights, KV cache, scratch. */
  gpuBytes: number;
  /** Bytes of the weights among them. */
  weightBytes: number;
  /** Longest conversation, in tokens. */
  contextLength: number;
  /** How the KV cache stores keys and values. */
  kv: 'f16' | 'f32';
}
