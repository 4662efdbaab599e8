/** Structured output in the worker. Its WASM module is fetched when first used. */
import init, { Compiler, type Constraint as WasmConstraint } from '../wasm/mobilemoe_constrain.js';
import { MobileMoEError } from './errors.js';
import { start, type WasmSource } from './module.js';
import type { WireFormat } from './protocol.js';

/** Every token's bytes: token `i` is `bytes[ends[i - 1]..ends[i]]`; `special` has a byte a token, `endIds` end an answer. */
export interface Vocabulary {
  bytes: Uint8Array;
  ends: Uint32Array;
  special: Uint8Array;
  endIds: Uint32Array;
}

/** Compiles formats for one model. */
export class Constrainer {
  readonly #vocabulary: () => Promise<Vocabulary>;
  readonly #logits: number;
  readonly #module: WasmSource;
  #compiler: Promise<Compiler> | undefined;

  /** `logits`: how many the model has. */
  constructor(vocabulary: () => Promise<Vocabulary>, logits: number, module: WasmSource) {
    this.#module = module;
    this.#vocabulary = vocabulary;
    this.#logits = logits;
  }

  /** Rejects with code "Aborted" as soon as `signal` aborts; the module goes on loading, for whoever waits for it or will. */
  async compile({ kind, source }: WireFormat, signal: AbortSignal): Promise<Constraint> {
    this.#compiler ??= this.#load();
    // What could not be loaded is tried again the next time.
    this.#compiler.catch(() => (this.#compiler = undefined));
    const compiler = await Promise.race([this.#compiler, abortOf(signal)]);
    return new Constraint(guarded(() => compiler.compile(kind, source)));
  }

  async #load(): Promise<Compiler> {
    const vocabulary = await this.#vocabulary();
    await start(init, this.#module, 'for structured output');
    const { bytes, ends, special, endIds } = vocabulary;
    return guarded(() => new Compiler(bytes, ends, special, endIds, this.#logits));
  }
}

/** One answer as it grows. */
export class Constraint {
  readonly #constraint: WasmConstraint;
  #mask: Uint32Array | undefined;

  constructor(constraint: WasmConstraint) {
    this.#constraint = constraint;
    this.#mask = guarded(() => constraint.mask());
  }

  /** What may come next, a bit a token; `undefined` when the answer is whole. */
  get mask(): Uint32Array | undefined {
    return this.#mask;
  }

  /** Takes in the token that was chosen. */
  accept(id: number): void {
    guarded(() => this.#constraint.accept(id));
    this.#mask = guarded(() => this.#constraint.mask());
  }

  free(): void {
    this.#constraint.free();
  }
}

function abortOf(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const aborted = () => reject(new MobileMoEError('Aborted', 'The call was aborted while it waited.'));
    if (signal.aborted) aborted();
    signal.addEventListener('abort', aborted, { once: true });
  });
}

/** A trap in this module is no trap in the engine. */
function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const { code, message } = MobileMoEError.from(error, 'ConstraintFailed');
    throw new MobileMoEError(code, message);
  }
}
