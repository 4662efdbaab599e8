/** Generations in the worker: whose turn it is, in which session, and what the page is told. */
import type { WebEngine } from '../wasm/mobilemoe_web.js';
import { Constrainer, type Vocabulary } from './constrain.js';
import { MobileMoEError } from './errors.js';
import type { Facts } from './facts.js';
import { Flow } from './flow.js';
import type { WasmSource } from './module.js';
import type { WireEvent, WireGenerate, WirePrompt } from './protocol.js';
import { heard, Turns } from './turns.js';
import type { GeneratedToken, Generation, PromptProgress, Score } from './types.js';

/** Generations that share the GPU at a time, each with a KV cache of its own. */
const MOST_AT_ONCE = 4;

/** What a step of the engine gives: a part of the prompt, a token, or the end. */
type Step = PromptProgress | GeneratedToken | null;
type Ended = Pick<
  Generation,
  'finishReason' | 'tokens' | 'promptTokens' | 'cachedTokens' | 'prefillMs' | 'decodeMs' | 'tokensPerSecond'
> & { rest: string; kvBytes: number; heapBytes: number };

/** One answer to be made. */
interface Choice {
  ids: Uint32Array;
  request: WireGenerate;
  index: number;
  /** When the page's call came in, by this worker's clock. */
  askedMs: number;
  emit: (event: WireEvent) => void;
  signal: AbortSignal;
  /** How far the events may run ahead of their reader. */
  flow: Flow;
}

/**
 * The engine with its sessions. Whatever waits for the GPU takes a turn; a generation takes one for every chunk of its
 * prompt and every token, scoring one for every chunk. Turns are served in the order they are asked for, so generations go round in a ring, a short
 * call waits for one step of each of them at most, and an abort is heard within one token.
 */
export class Scheduler {
  readonly #engine: WebEngine;
  readonly #held: { weightBytes: number; scratchBytes: number };
  readonly #constrainer: Constrainer;
  readonly #turns = new Turns(1);
  readonly #running = new Turns(MOST_AT_ONCE);
  readonly #scoring = new Turns(MOST_AT_ONCE);
  /** In each session one thing after another. */
  readonly #ofSession = new Map<number, Turns>();
  /** The last session of calls that bring none: what the next such call shares with it is not computed again. */
  #spare: number | undefined;

  constructor(engine: WebEngine, { weightBytes, scratchBytes, vocabSize }: Facts, constrainModule: WasmSource) {
    this.#engine = engine;
    this.#held = { weightBytes, scratchBytes };
    this.#constrainer = new Constrainer(() => this.turn((engine) => engine.vocabulary() as Vocabulary), vocabSize, constrainModule);
  }

  /** Something short to do with the engine. */
  turn<T>(work: (engine: WebEngine) => Promise<T> | T): Promise<T> {
    return this.#turns.take(() => work(this.#engine));
  }

  /** Something long, that wants the memory of the spare session. */
  async alone<T>(work: (engine: WebEngine) => Promise<T>): Promise<T> {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare !== undefined) await this.#free(spare);
    return this.turn(work);
  }

  async createSession(): Promise<number> {
    return this.#keep(await this.turn((engine) => engine.createSession()));
  }

  /** A session that goes on from where another is, once what runs there is done. */
  forkSession(session: number): Promise<number> {
    return this.#inSession(session, () => this.#fork(session));
  }

  /** Frees a session, once what runs there is done. */
  freeSession(session: number): Promise<void> {
    return this.#inSession(session, () => this.#free(session));
  }

  /** Scores a continuation, chunk by chunk. Each has a cache of its own: a few at once, the others wait. */
  score(context: string | Uint32Array, continuation: string | Uint32Array, signal: AbortSignal): Promise<Score> {
    return this.#scoring.take(() => this.#score(context, continuation, signal), signal);
  }

  async #score(context: string | Uint32Array, continuation: string | Uint32Array, signal: AbortSignal): Promise<Score> {
    const scoring = await this.turn((engine) => engine.beginScore(...pair(engine, context, continuation)));
    try {
      for (;;) {
        const score = await this.turn((engine) => {
          if (signal.aborted) throw new MobileMoEError('Aborted', 'The call was aborted.');
          return engine.scoreChunk(scoring) as Promise<Score | null>;
        });
        if (score) return score;
      }
    } finally {
      await this.turn((engine) => engine.endScore(scoring));
    }
  }

  /** Answers a prompt as often as asked for. */
  async generate(request: WireGenerate, emit: (event: WireEvent) => void, signal: AbortSignal, flow = new Flow()): Promise<Generation[]> {
    const askedMs = performance.now();
    const ids = await this.#ids(request.prompt);
    const choice = (index: number): Choice => ({ ids, request, index, askedMs, emit, signal, flow });
    const choices = Array.from({ length: request.choices }, (_, i) => choice(i));
    const { session } = request;
    if (session === undefined) return this.#choose(choices);
    try {
      return await this.#inSession(session, () => this.#choose(choices, session), signal);
    } catch (error) {
      if (!isAbort(error)) throw error;
      return Promise.all(choices.map((choice) => this.#neverBegun(choice)));
    }
  }

  /** All choices: the first computes the prompt, the others go on from copies of it. */
  async #choose([first, ...others]: Choice[], given?: number): Promise<Generation[]> {
    let session = given;
    let reportPrompt = () => {};
    const prompt = new Promise<void>((resolve) => (reportPrompt = resolve));
    const head = this.#whenFree(first!, async () => {
      session ??= await this.#takeSpare();
      return this.#run(session, first!, reportPrompt);
    }).finally(reportPrompt);
    const tail = others.map(async (choice) => {
      await prompt;
      return this.#whenFree(choice, async () => {
        const own = session === undefined ? await this.createSession() : await this.#fork(session);
        return this.#run(own, choice).finally(() => this.#free(own));
      });
    });
    const settled = await Promise.allSettled([head, ...tail]);
    if (session !== undefined && session !== given) await this.#giveSpare(session);
    return settled.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
  }

  /** Does the work when there is room for one more generation. An abort while the choice waits is an ordinary end. */
  async #whenFree(choice: Choice, work: () => Promise<Generation>): Promise<Generation> {
    try {
      return await this.#running.take(work, choice.signal);
    } catch (error) {
      if (!isAbort(error)) throw error;
      return this.#neverBegun(choice);
    }
  }

  async #run(session: number, choice: Choice, onPrompt: () => void = () => {}): Promise<Generation> {
    const { ids, request, index, askedMs, emit, signal } = choice;
    if (signal.aborted) return this.#neverBegun(choice);
    const queuedMs = performance.now() - askedMs;
    const seed = seedOf(choice);
    const constraint = request.format && (await this.#constrainer.compile(request.format, signal));
    const options = { ...request.options, seed: words(seed), masked: constraint !== undefined };
    const begin = (engine: WebEngine) => engine.begin(session, ids, options);
    const generation = await this.turn(begin).catch((error: unknown) => {
      constraint?.free();
      throw error;
    });
    const isWhole = () => constraint !== undefined && constraint.mask === undefined;
    emit({ choice: index, begun: true });
    let text = '';
    let firstTokenMs: number | undefined;
    let ended: Ended;
    try {
      while (!isWhole()) {
        if (choice.flow.isFull) await this.#pause(session, choice);
        const step = await this.#step(generation, constraint?.mask, signal);
        if (step === null) break;
        if ('done' in step) {
          emit({ choice: index, prompt: step });
          continue;
        }
        firstTokenMs ??= performance.now() - askedMs;
        onPrompt();
        text += step.text ?? '';
        emit({ choice: index, token: step });
        constraint?.accept(step.id);
      }
    } finally {
      ended = await this.turn((engine) => engine.end(generation) as Promise<Ended>);
      constraint?.free();
    }
    const { rest, kvBytes, heapBytes, ...facts } = ended;
    // Not cut short: there was nothing more to say.
    if (facts.finishReason === 'abort' && isWhole()) facts.finishReason = 'stop';
    if (rest) emit({ choice: index, rest });
    return { ...facts, text: text + rest, seed, queuedMs, firstTokenMs, memory: { ...this.#held, kvBytes, heapBytes } };
  }

  /** Nobody reads: others go on meanwhile. It goes on, read or not, when another call waits for its session. */
  #pause(session: number, { flow, signal }: Choice): Promise<void> {
    const aborted = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    return this.#running.pause(Promise.race([flow.room(), aborted, this.#ofSession.get(session)?.wanted()]), signal);
  }

  /** One step, none once it is aborted. The ids of steps that ran ahead may be there: the page is heard all the same. */
  #step(generation: number, mask: Uint32Array | undefined, signal: AbortSignal): Promise<Step> {
    return this.turn(async (engine) => {
      if (signal.aborted) return null;
      const [step] = await Promise.all([engine.step(generation, mask) as Promise<Step>, heard()]);
      return step;
    });
  }

  /** What is told of a generation that was aborted while it waited. */
  async #neverBegun(choice: Choice): Promise<Generation> {
    return {
      text: '',
      finishReason: 'abort',
      tokens: new Uint32Array(),
      promptTokens: choice.ids.length,
      cachedTokens: 0,
      seed: seedOf(choice),
      queuedMs: performance.now() - choice.askedMs,
      firstTokenMs: undefined,
      prefillMs: 0,
      decodeMs: 0,
      tokensPerSecond: 0,
      memory: { ...this.#held, kvBytes: 0, heapBytes: await this.turn((engine) => engine.heapBytes()) },
    };
  }

  #ids(prompt: WirePrompt): Promise<Uint32Array> | Uint32Array {
    if ('ids' in prompt) return prompt.ids;
    if ('text' in prompt) return this.turn((engine) => engine.tokenize(prompt.text, true, false));
    return this.turn((engine) => engine.tokenizeChat(prompt.messages, true));
  }

  async #takeSpare(): Promise<number> {
    const spare = this.#spare;
    this.#spare = undefined;
    return spare ?? this.createSession();
  }

  async #giveSpare(session: number): Promise<void> {
    const older = this.#spare;
    this.#spare = session;
    if (older !== undefined) await this.#free(older);
  }

  #inSession<T>(session: number, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const turns = this.#ofSession.get(session);
    if (!turns) throw new MobileMoEError('Disposed', 'this session was disposed of');
    return turns.take(work, signal);
  }

  async #fork(session: number): Promise<number> {
    return this.#keep(await this.turn((engine) => engine.forkSession(session)));
  }

  #keep(session: number): number {
    this.#ofSession.set(session, new Turns(1));
    return session;
  }

  async #free(session: number): Promise<void> {
    this.#ofSession.delete(session);
    await this.turn((engine) => engine.freeSession(session));
  }
}

/** Ids of context and continuation. Texts are encoded as one, so that the border between them falls where the tokenizer has it. */
function pair(engine: WebEngine, context: string | Uint32Array, continuation: string | Uint32Array): [Uint32Array, Uint32Array] {
  if (typeof context === 'string' && typeof continuation === 'string') {
    // As lm-evaluation-harness has it: spaces at the context's end belong to the continuation.
    const whole = engine.tokenize(context + continuation, true, false);
    const border = engine.tokenize(context.trimEnd(), true, false).length;
    return [whole.subarray(0, border), whole.subarray(border)];
  }
  const ids = (part: string | Uint32Array, first: boolean) => (typeof part === 'string' ? engine.tokenize(part, first, false) : part);
  return [ids(context, true), ids(continuation, false)];
}

function isAbort(error: unknown): boolean {
  return MobileMoEError.from(error).code === 'Aborted';
}

/** Each choice has a seed of its own. */
function seedOf({ request, index }: Choice): number {
  return request.seed + index;
}

/** The low and the high 32 bits of an integer, in two's complement. */
function words(integer: number): [number, number] {
  const bits = BigInt.asUintN(64, BigInt(integer));
  return [Number(bits & 0xffff_ffffn), Number(bits >> 32n)];
}
