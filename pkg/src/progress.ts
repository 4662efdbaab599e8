import type { WireProgress } from './protocol.js';
import type { LoadProgress } from './types.js';

/** The rate is an average over about this long. */
const WINDOW_SECONDS = 3;

type Stage = LoadProgress['stage'];

/**
 * What the stages take, about, in seconds: only the bar's pace hangs on it. Weights take their size's worth at this rate. Those in
 * one row may go on side by side.
 */
const SECONDS: Partial<Record<Stage, number>>[] = [
  { starting: 0.3 },
  { waiting: 0 },
  { opening: 0.3 },
  { measuring: 1 },
  { weights: NaN, compiling: 3 },
  { 'warming-up': 0.5 },
];
const BYTES_PER_SECOND = 20e6;
/** Until the headers are read. */
const USUAL_BYTES = 500e6;

const TEXTS: Record<Stage, string> = {
  starting: 'Starting the engine',
  waiting: 'Waiting: another tab is loading this model',
  opening: 'Reading the configuration and the tokenizer',
  measuring: 'Finding the fastest kernels',
  compiling: 'Compiling kernels',
  weights: 'Reading',
  'warming-up': 'Warming up',
  ready: 'Ready',
};

/** Turns what the worker tells of a load into one number that never goes back, a text, a smoothed rate and the time left. */
export class ProgressMeter {
  readonly #report: (progress: LoadProgress) => void;
  /** How much of each stage is done, from 0 to 1. */
  readonly #done = new Map<Stage, number>();
  #last: LoadProgress = { stage: 'starting', fraction: 0, text: TEXTS.starting, bytesDone: 0, bytesTotal: 0, bytesPerSecond: 0, secondsLeft: undefined };
  #lastTime = NaN;
  #bytesPerSecond = 0;

  constructor(report: (progress: LoadProgress) => void = () => {}) {
    this.#report = report;
    report(this.#last);
  }

  update(step: WireProgress): void {
    if ('waitMs' in step) {
      // The last text comes back when the wait is over.
      const text = step.waitMs > 0 ? `Waiting ${Math.ceil(step.waitMs / 1000)} s: ${step.reason}` : this.#last.text;
      return this.#report({ ...this.#last, text });
    }
    const { stage, done, total, bytesTotal } = step;
    this.#reached(stage, total > 0 ? done / total : 0);
    const bytesDone = stage === 'weights' ? done : this.#last.bytesDone;
    if (stage === 'weights') this.#measure(bytesDone);
    const rate = this.#bytesPerSecond;
    this.#tell({
      stage,
      fraction: Math.max(this.#last.fraction, this.#fraction(bytesTotal || USUAL_BYTES)),
      text: textOf(step),
      bytesDone,
      bytesTotal,
      bytesPerSecond: rate,
      secondsLeft: rate > 0 ? (bytesTotal - bytesDone) / rate : undefined,
    });
  }

  /** Everything is done. */
  ready(): void {
    this.#tell({ ...this.#last, stage: 'ready', fraction: 1, text: TEXTS.ready, secondsLeft: 0 });
  }

  #tell(progress: LoadProgress): void {
    this.#last = progress;
    this.#report(progress);
  }

  /** The stages before are over, or were left out. */
  #reached(stage: Stage, done: number): void {
    for (const row of SECONDS) {
      if (stage in row) break;
      for (const before of Object.keys(row)) this.#done.set(before as Stage, 1);
    }
    this.#done.set(stage, Math.max(done, this.#done.get(stage) ?? 0));
  }

  /** Short of 1, which says that the load is over. */
  #fraction(bytesTotal: number): number {
    const stages = SECONDS.flatMap((row) => Object.entries(row)) as [Stage, number][];
    const seconds = ([stage, seconds]: [Stage, number]) => (stage === 'weights' ? bytesTotal / BYTES_PER_SECOND : seconds);
    const all = stages.reduce((sum, stage) => sum + seconds(stage), 0);
    return Math.min(0.99, stages.reduce((sum, stage) => sum + seconds(stage) * (this.#done.get(stage[0]) ?? 0), 0) / all);
  }

  #measure(bytesDone: number): void {
    const now = performance.now();
    const seconds = (now - this.#lastTime) / 1000; // NaN at the first bytes: what came before was no transfer
    if (seconds > 0) {
      const rate = (bytesDone - this.#last.bytesDone) / seconds;
      const weight = this.#bytesPerSecond === 0 ? 1 : 1 - Math.exp(-seconds / WINDOW_SECONDS);
      this.#bytesPerSecond += weight * (rate - this.#bytesPerSecond);
    }
    if (bytesDone > 0) this.#lastTime = now;
  }
}

function textOf({ stage, done, total, fetches, quantizes }: Exclude<WireProgress, { waitMs: number }>): string {
  if (stage === 'weights') return `${fetches ? 'Fetching' : 'Reading'}${quantizes ? ' and quantizing' : ''}: ${bytesOf(done, total)}`;
  return total > 1 ? `${TEXTS[stage]}: ${done} of ${total}` : TEXTS[stage];
}

/** 120e6, 714e6 -> "120 of 714 MB" */
function bytesOf(done: number, total: number): string {
  const [unit, name] = total < 1e6 ? [1e3, 'kB'] : total < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
  const digits = total < 10 * unit ? 1 : 0;
  return `${(done / unit).toFixed(digits)} of ${(total / unit).toFixed(digits)} ${name}`;
}
