/** Back-pressure: how far a call's events may run ahead of whoever takes them. */

/** About a screen of text; what came in a burst is told in few messages. */
const MOST_UNTAKEN = 128;
/** The page tells of so many at once. */
export const TOLD_AT_ONCE = 32;

/** In the worker: the events of one call. */
export class Flow {
  #untaken = 0;
  #resume: (() => void) | undefined;

  sent(): void {
    this.#untaken += 1;
  }

  taken(events: number): void {
    this.#untaken -= events;
    if (!this.isFull) this.#resume?.();
  }

  get isFull(): boolean {
    return this.#untaken >= MOST_UNTAKEN;
  }

  /** Resolves when there is room for more. */
  async room(): Promise<void> {
    if (this.isFull) await new Promise<void>((resolve) => (this.#resume = resolve));
  }
}
