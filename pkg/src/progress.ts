import type { WireProgress } from './protocol.js';
import type { LoadProgress } from './types.js';

/** The rate is an average over about this long. */
const WINDOW_SECONDS = 3;

/** Turns byte counts into a smoothed rate and the time left. */
export class ProgressMeter {
  readonly #report: (progress: LoadProgress) => void;
  #lastTime = NaN;
  #lastBytes = 0;
  #bytesPerSecond = 0;

  constructor(report: (progress: LoadProgress) => void = () => {}) {
    this.#report = report;
    report({ stage: 'starting', bytesDone: 0, bytesTotal: 0, bytesPerSecond: 0, secondsLeft: undefined });
  }

  update({ stage, bytesDone, bytesTotal }: WireProgress): void {
    const now = performance.now();
    const seconds = (now - this.#lastTime) / 1000; // NaN at the first bytes: what came before was no transfer
    if (seconds > 0) {
      const rate = (bytesDone - this.#lastBytes) / seconds;
      const weight = this.#bytesPerSecond === 0 ? 1 : 1 - Math.exp(-seconds / WINDOW_SECONDS);
      this.#bytesPerSecond += weight * (rate - this.#bytesPerSecond);
    }
    if (bytesDone > 0) {
      this.#lastTime = now;
      this.#lastBytes = bytesDone;
    }
    const rate = this.#bytesPerSecond;
    const secondsLeft = rate > 0 ? (bytesTotal - bytesDone) / rate : undefined;
    this.#report({ stage, bytesDone, bytesTotal, bytesPerSecond: rate, secondsLeft });
  }
}
