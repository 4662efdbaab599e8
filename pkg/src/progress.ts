import type { WireProgress } from './protocol.js';
import type { LoadProgress } from './types.js';

/** The rate is an average over about this long. */
const WINDOW_SECONDS = 3;

/** Turns byte counts into a smoothed rate and the time left. */
export class ProgressMeter {
  readonly #report: (progress: LoadProgress) => void;
  #lastTime = performance.now();
  #lastBytes = 0;
  #bytesPerSecond = 0;

  constructor(report: (progress: LoadProgress) => void = () => {}) {
    this.#report = report;
    report({ stage: 'starting', bytesDone: 0, bytesTotal: 0, bytesPerSecond: 0, secondsLeft: undefined });
  }

  update({ stage, bytesDone, bytesTotal }: WireProgress): void {
    const now = performance.now();
    const seconds = (now - this.#lastTime) / 1000;
    if (seconds > 0 && bytesDone > this.#lastBytes) {
      const rate = (bytesDone - this.#lastBytes) / seconds;
      const weight = this.#bytesPerSecond === 0 ? 1 : 1 - Math.exp(-seconds / WINDOW_SECONDS);
      this.#bytesPerSecond += weight * (rate - this.#bytesPerSecond);
    }
    if (bytesDone > this.#lastBytes || stage === 'opening') {
      this.#lastTime = now;
      this.#lastBytes = bytesDone;
    }
    const rate = this.#bytesPerSecond;
    const secondsLeft = rate > 0 ? (bytesTotal - bytesDone) / rate : undefined;
    this.#report({ stage, bytesDone, bytesTotal, bytesPerSecond: rate, secondsLeft });
  }
}
