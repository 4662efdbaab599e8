/** The worker: owns the WASM module and the GPU device, serves one call after another. */
import init, { WebEngine } from '../wasm/mobilemoe_web.js';
import type { BenchmarkProgress, BenchmarkReport } from './benchmark.js';
import { MobileMoEError } from './errors.js';
import type { Facts } from './facts.js';
import type { Call, Calls, Method, Reply, Request } from './protocol.js';
import { listDirectory } from './source.js';
import type { Generation, LogitsTrace, Score, TextGeneration } from './types.js';

const PROGRESS_INTERVAL_MS = 80;

interface Context<M extends Method> {
  emit: (event: Calls[M]['event']) => void;
  signal: AbortSignal;
}
type Handlers = { [M in Method]: (args: Calls[M]['args'], context: Context<M>) => Promise<Calls[M]['result']> | Calls[M]['result'] };

let loaded: WebEngine | undefined;
function engine(): WebEngine {
  if (!loaded) throw new MobileMoEError('NotLoaded', 'No checkpoint is loaded.');
  return loaded;
}

const handlers: Handlers = {
  async load([source, options], { emit }) {
    emit({ stage: 'opening', bytesDone: 0, bytesTotal: 0 });
    await init();
    const progress = throttle((bytesDone: number, bytesTotal: number) => emit({ stage: 'weights', bytesDone, bytesTotal }));
    if ('web' in source) loaded = await WebEngine.loadUrl(source.web, options, progress, die);
    else if ('synthetic' in source) loaded = await WebEngine.loadSynthetic(source.synthetic, options, progress, die);
    else {
      const files = 'files' in source ? source.files : await listDirectory(source.directory);
      loaded = await WebEngine.loadFiles(files, options, progress, die);
    }
    return { ...(loaded.facts() as Facts), adapter: await adapterName() };
  },
  chat: ([messages, options], context) => engine().chat(messages, options, onPiece(context)) as Promise<TextGeneration>,
  complete: ([prompt, options], context) => engine().complete(prompt, options, onPiece(context)) as Promise<TextGeneration>,
  generateTokens: ([ids, options], context) => engine().generateTokens(ids, options, onPiece(context)) as Promise<Generation>,
  tokenize: ([text, addSpecial, parseSpecial]) => engine().tokenize(text, addSpecial, parseSpecial),
  detokenize: ([ids, skipSpecialTokens]) => engine().detokenize(ids, skipSpecialTokens),
  applyChatTemplate: ([messages, addGenerationPrompt]) => engine().applyChatTemplate(messages, addGenerationPrompt),
  tokenizeChat: ([messages, addGenerationPrompt]) => engine().tokenizeChat(messages, addGenerationPrompt),
  logits: ([ids, allPositions]) => engine().logits(ids, allPositions) as Promise<LogitsTrace>,
  score: ([context, continuation]) => engine().score(context, continuation) as Promise<Score>,
  async benchmark([options], { emit, signal }) {
    const onProgress = (progress: BenchmarkProgress) => (emit(progress), !signal.aborted);
    const report = (await engine().benchmark(options, onProgress)) as BenchmarkReport;
    return { ...report, adapter: await adapterName() };
  },
};

/** What the browser calls the GPU; the engine's own library does not say. */
async function adapterName(): Promise<string> {
  const info = (await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' }))?.info;
  return info?.description || [info?.vendor, info?.architecture].filter(Boolean).join(' ') || 'unnamed GPU';
}

/** Tells the page that nothing more can be served. */
function die(reason: unknown): void {
  scope.postMessage({ fatal: MobileMoEError.from(reason, 'WorkerCrashed').toWire() });
}

/** Passes a piece on; the answer tells the engine whether to go on. */
function onPiece<Piece>({ emit, signal }: { emit: (piece: Piece) => void; signal: AbortSignal }): (piece?: Piece) => boolean {
  return (piece) => {
    if (piece !== undefined) emit(piece);
    return !signal.aborted;
  };
}

function throttle(report: (bytesDone: number, bytesTotal: number) => void): typeof report {
  let last = -Infinity;
  return (bytesDone, bytesTotal) => {
    const now = performance.now();
    if (now - last < PROGRESS_INTERVAL_MS && bytesDone < bytesTotal) return;
    last = now;
    report(bytesDone, bytesTotal);
  };
}

// The DOM library types `self` as a Window.
const scope = self as unknown as {
  postMessage(reply: Reply, transfer?: Transferable[]): void;
  onmessage: (event: MessageEvent<Request>) => void;
  addEventListener(type: 'unhandledrejection', listener: (event: PromiseRejectionEvent) => void): void;
};
const aborts = new Map<number, AbortController>();
let queue = Promise.resolve();

scope.onmessage = ({ data: request }) => {
  if ('abort' in request) return aborts.get(request.abort)?.abort();
  const controller = new AbortController();
  if (request.aborted) controller.abort();
  aborts.set(request.id, controller);
  queue = queue.then(() => serve(request));
};
scope.addEventListener('unhandledrejection', ({ reason }) => die(reason));

async function serve<M extends Method>(call: Call<M>): Promise<void> {
  const { id, method, args } = call;
  const { signal } = aborts.get(id)!;
  try {
    const emit = (event: Calls[M]['event']) => scope.postMessage({ id, event });
    const result = await (handlers[method] as Handlers[M])(args, { emit, signal });
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
  }
}

/** The arrays of a result, to be handed over instead of copied. */
function buffersOf(result: unknown): Transferable[] {
  const values = ArrayBuffer.isView(result) ? [result] : typeof result === 'object' && result ? Object.values(result) : [];
  return values.filter((value) => ArrayBuffer.isView(value)).map((view) => view.buffer as ArrayBuffer);
}
