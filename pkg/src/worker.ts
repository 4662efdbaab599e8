/** The worker: owns the WASM module and the GPU device, serves the page's calls side by side. */
import init, { deleteStored, storedModels, storedNames, verifyStored, WebCheckpoint, WebEngine } from '../wasm/mobilemoe_web.js';
import type { BenchmarkProgress, BenchmarkReport } from './benchmark.js';
import { capability, nameOf, requestAdapter } from './capability.js';
import { MobileMoEError } from './errors.js';
import type { Facts, StoredDamage, StoredFacts } from './facts.js';
import { Flow } from './flow.js';
import { Scheduler } from './generate.js';
import { withFreeModel, withModel } from './locks.js';
import { start, type WasmSource } from './module.js';
import type { Call, Calls, Method, Reply, Request, WireProgress, WireSource } from './protocol.js';
import { listDirectory } from './source.js';
import type { StoredModel } from './store.js';
import type { LogitsTrace } from './types.js';
import { identityOf, offerSubgroups, remember, remembered } from './variant.js';

const PROGRESS_INTERVAL_MS = 80;

offerSubgroups();

/** What the engine tells of a load. */
type LoadStep = Omit<Extract<WireProgress, { stage: string }>, 'fetches'>;

interface Context<M extends Method> {
  emit: (event: Calls[M]['event']) => void;
  signal: AbortSignal;
  flow: Flow;
}
type Handlers = { [M in Method]: (args: Calls[M]['args'], context: Context<M>) => Promise<Calls[M]['result']> };

let loaded: Scheduler | undefined;
function engine(): Scheduler {
  if (!loaded) throw new MobileMoEError('NotLoaded', 'No checkpoint is loaded.');
  return loaded;
}

let constrainModule: WasmSource;

const handlers: Handlers = {
  async start([{ engine, constrain }]) {
    constrainModule = constrain;
    await start(init, engine, 'of the engine');
  },
  load: ([source, options], { emit }) => withFiles(source, emit, async (checkpoint, fetches) => {
    const progress = throttle((step: LoadStep) => emit({ ...step, fetches }));
    const adapter = await requestAdapter(options.lowPower);
    const identity = adapter && identityOf(adapter);
    const found = identity && (await remembered(identity));
    const engine = await WebEngine.load(checkpoint, { ...options, ...(found && { remembered: found }) }, progress, die);
    const own = engine.facts() as Facts;
    const facts: Facts = { ...own, adapter: nameOf(adapter), stored: own.stored && named(source, own.stored) };
    if (!options.variant && identity) await remember(identity, engine.remembered());
    loaded = new Scheduler(engine, facts, constrainModule);
    return facts;
  }),
  async canRun([source, options]) {
    return capability(await checkpoint({ ...source, ...(source.store && { store: { ...source.store, writes: false } }) }), options);
  },
  download: ([source], { emit }) => withFiles(source, emit, async (checkpoint, fetches) => {
    return named(source, (await checkpoint.download(bytes(emit, fetches))) as StoredFacts);
  }),
  storedModels: async () => (await storedModels()) as StoredModel[],
  verifyStored: ([id, revision], { emit }) => withFreeModel({ id, revision }, async () => (await verifyStored(id, revision, bytes(emit, false))) as StoredDamage[]),
  storedNames: async ([id, revision]) => (await storedNames(id, revision)) as { folder: string; names: string[] },
  deleteStored: ([id, revision]) => withFreeModel({ id, revision }, () => deleteStored(id, revision)),
  generate: async ([request], { emit, signal, flow }) => engine().generate(request, emit, signal, flow),
  createSession: async () => engine().createSession(),
  forkSession: async ([session]) => engine().forkSession(session),
  freeSession: async ([session]) => engine().freeSession(session),
  tokenize: async ([text, addSpecial, parseSpecial]) => engine().turn((engine) => engine.tokenize(text, addSpecial, parseSpecial)),
  detokenize: async ([ids, skipSpecial]) => engine().turn((engine) => engine.detokenize(ids, skipSpecial)),
  applyChatTemplate: async ([messages, open]) => engine().turn((engine) => engine.applyChatTemplate(messages, open)),
  tokenizeChat: async ([messages, open]) => engine().turn((engine) => engine.tokenizeChat(messages, open)),
  logits: async ([ids, allPositions]) => engine().turn((engine) => engine.logits(ids, allPositions) as Promise<LogitsTrace>),
  score: async ([context, continuation], { signal }) => engine().score(context, continuation, signal),
  async benchmark([options], { emit, signal }) {
    const onProgress = (progress: BenchmarkProgress) => (emit(progress), !signal.aborted);
    const report = (await engine().alone((engine) => engine.benchmark(options, onProgress))) as BenchmarkReport;
    return { ...report, adapter: nameOf(await requestAdapter()) };
  },
};

/** Opens a source that nobody else opens meanwhile, if it is kept: two pages fetch a model once. */
async function withFiles<T>(source: WireSource, emit: (progress: WireProgress) => void, use: (checkpoint: WebCheckpoint, fetches: boolean) => Promise<T>): Promise<T> {
  const tell = (stage: 'waiting' | 'opening') => emit({ stage, done: 0, total: 0, bytesTotal: 0, quantizes: false, fetches: 'web' in source });
  const open = async () => {
    tell('opening');
    const opened = await checkpoint(source, (waitMs, reason) => emit({ waitMs, reason }));
    return use(opened, await opened.fetches());
  };
  return source.store?.keep ? withModel(source.store, () => tell('waiting'), open) : open();
}

async function checkpoint(source: WireSource, onWait?: (waitMs: number, reason: string) => void): Promise<WebCheckpoint> {
  const files = await publishedFiles(source, onWait);
  return source.store ? files.stored(source.store) : files;
}

async function publishedFiles(source: WireSource, onWait?: (waitMs: number, reason: string) => void): Promise<WebCheckpoint> {
  if ('web' in source) return WebCheckpoint.fromWeb(source.web, onWait);
  if ('synthetic' in source) return WebCheckpoint.synthetic(source.synthetic);
  return WebCheckpoint.fromFiles('files' in source ? source.files : await listDirectory(source.directory));
}

function named({ store }: WireSource, facts: StoredFacts): StoredFacts {
  return { ...facts, id: store!.id, revision: store!.revision };
}

/** Bytes that come, or are read, and go to no GPU. */
function bytes(emit: (progress: WireProgress) => void, fetches: boolean): (done: number, total: number) => void {
  const progress = throttle((step) => emit({ ...step, fetches }));
  return (done, total) => progress({ stage: 'weights', done, total, bytesTotal: total, quantizes: false });
}

/** Tells the page that nothing more can be served. */
function die(reason: unknown): void {
  scope.postMessage({ fatal: MobileMoEError.from(reason, 'WorkerCrashed').toWire() });
}

/** Every stage is told of, and its end, but not every byte. */
function throttle(report: (step: LoadStep) => void): typeof report {
  let last = { stage: '', at: -Infinity };
  return (step) => {
    const at = performance.now();
    if (step.stage === last.stage && at - last.at < PROGRESS_INTERVAL_MS && step.done < step.total) return;
    last = { stage: step.stage, at };
    report(step);
  };
}

// The DOM library types `self` as a Window.
const scope = self as unknown as {
  postMessage(reply: Reply, transfer?: Transferable[]): void;
  onmessage: (event: MessageEvent<Request>) => void;
  addEventListener(type: 'unhandledrejection', listener: (event: PromiseRejectionEvent) => void): void;
};
const aborts = new Map<number, AbortController>();
const flows = new Map<number, Flow>();

scope.onmessage = ({ data: request }) => {
  if ('abort' in request) return aborts.get(request.abort)?.abort();
  if ('taken' in request) return flows.get(request.taken)?.taken(request.events);
  const controller = new AbortController();
  if (request.aborted) controller.abort();
  aborts.set(request.id, controller);
  flows.set(request.id, new Flow());
  void serve(request);
};
scope.addEventListener('unhandledrejection', ({ reason }) => die(reason));
scope.postMessage({ running: true });

async function serve<M extends Method>(call: Call<M>): Promise<void> {
  const { id, method, args } = call;
  const { signal } = aborts.get(id)!;
  const flow = flows.get(id)!;
  try {
    const emit = (event: Calls[M]['event']) => {
      flow.sent();
      scope.postMessage({ id, event });
    };
    const result = await (handlers[method] as Handlers[M])(args, { emit, signal, flow });
    scope.postMessage({ id, result }, buffersOf(result));
  } catch (thrown) {
    const error = MobileMoEError.from(thrown);
    if (error.code === 'DeviceLost') return die(error);
    if (thrown instanceof WebAssembly.RuntimeError) {
      return die(new MobileMoEError('WorkerCrashed', `The engine stopped: ${error.message}. Reload the page.`));
    }
    // A lost device shows first as commands that fail; the reason follows at once.
    if (error.code === 'GpuCommand') await new Promise((resolve) => setTimeout(resolve, 100));
    scope.postMessage({ id, error: error.toWire() });
  } finally {
    aborts.delete(id);
    flows.delete(id);
  }
}

/** The arrays of a result, to be handed over instead of copied. */
function buffersOf(result: unknown): Transferable[] {
  const values = ArrayBuffer.isView(result) ? [result] : typeof result === 'object' && result ? Object.values(result) : [];
  return values.filter((value) => ArrayBuffer.isView(value)).map((view) => view.buffer as ArrayBuffer);
}
