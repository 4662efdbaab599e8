/** What `MobileMoE.benchmark` measures, and for how long. */
export interface BenchmarkOptions {
  /** Prompt lengths in tokens; default 128, 512, 1024, 2048. Longer ones than the context are cut. */
  prompts?: readonly number[];
  /** Tokens in the cache when decoding begins; default 256, 1024, 4096, 8192. */
  contexts?: readonly number[];
  /** What prompts are made of; default both. "templated": one short chat over and over; "realistic": `prose`. */
  streams?: readonly ('realistic' | 'templated')[];
  /** The realistic text; default: ids drawn from the whole vocabulary, as frequent as words are in texts. */
  prose?: string;
  /** The cache before decoding: random keys and values (default; takes no time), or a computed prompt. */
  fill?: 'random' | 'prompt';
  /** Runs of each measurement; default 3. */
  repeats?: number;
  /** Tokens decoded in a run; default 32. */
  tokens?: number;
  /** A measurement begins no further run, and cuts a long one short, after so long; default 20,000. */
  budgetMs?: number;
  /** Time each kernel too, where the device has timestamps; default true. */
  profile?: boolean;
  onProgress?: (progress: BenchmarkProgress) => void;
  /** Aborting resolves with what was measured so far. */
  signal?: AbortSignal;
}

export interface BenchmarkProgress {
  /** What is being measured. */
  now: string;
  /** Measurements done, and in all. */
  done: number;
  total: number;
}

/** Several runs of one measurement. */
export interface Spread {
  median: number;
  min: number;
  max: number;
  runs: number;
}

export interface PrefillFigure {
  prompt_tokens: number;
  stream: string;
  /** Fewer than `prompt_tokens` if time ran out: then the rate is that of the first ones. */
  measured_tokens: number;
  /** From the call to the first token's id on the host. */
  tokens_per_s: Spread;
  /** Different experts that the last pass used in a layer, on average, and that pass's tokens. */
  experts_used: number;
  experts_used_by_tokens: number;
}

export interface DecodeFigure {
  /** Tokens in the cache before the first one decoded. */
  context: number;
  fill: 'random' | 'prompt';
  tokens: number;
  ms_per_token: Spread;
  /** Weights and cache read, over the time. */
  gb_per_s: number;
}

/** GPU time of one kernel in a step. */
export interface KernelProfile {
  kernel: string;
  dispatches: number;
  ms: number;
  /** Weights and cache read; in decode only. */
  bytes: number | null;
  gb_per_s: number | null;
}

/** What was measured, named as `mobilemoe bench --json` names it. */
export interface BenchmarkReport {
  adapter: string;
  backend: string;
  /** The kernels in use. */
  variant: string;
  kv: 'i8' | 'f16' | 'f32';
  /** Prompt tokens in one submit. */
  chunk_tokens: number;
  /** Of the first prompt length and stream. */
  prefill_tokens_per_s: number | null;
  /** At the first context. */
  decode_ms_per_token: number | null;
  /** What a decoded token asks of the GPU in steady state, counted while decoding; absent if nothing was decoded. */
  dispatches_per_token?: number;
  passes_per_token?: number;
  submits_per_token?: number;
  readback_bytes_per_token?: number;
  buffer_writes_per_token?: number;
  bind_groups_created_per_token?: number;
  buffers_created_per_token?: number;
  /** Weights that a decoded token's kernels touch, each once, as they are stored. */
  weight_bytes_per_token: number;
  /** INT4 codes and scales of the active weights. */
  min_weight_bytes_per_token: number;
  /** What a kernel reaches that reads all weights and does nothing else: what decoding is to be held against. */
  read_gb_per_s: number;
  weight_bytes: number;
  /** Weights, activations and the cache at its largest. */
  gpu_bytes: number;
  prefill: PrefillFigure[];
  decode: DecodeFigure[];
  /** GPU time by kernel, each dispatch in a pass of its own; null without timestamps. Browsers round them. */
  profile: {
    decode: KernelProfile[];
    decode_context: number;
    prefill: KernelProfile[];
    prefill_tokens: number;
  } | null;
  /** The caller ended it early. */
  aborted: boolean;
}
