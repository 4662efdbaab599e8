import { MobileMoEError } from './errors.js';

const { port1, port2 } = new MessageChannel();
port1.start();

/** Resolves when the messages that came before have been heard: promises that are settled already would go on without. */
export function heard(): Promise<void> {
  return new Promise((resolve) => {
    port1.addEventListener('message', () => resolve(), { once: true });
    port2.postMessage(null);
  });
}

/** Lets at most `limit` pieces of work run at once; the others wait in the order they came. */
export class Turns {
  readonly #limit: number;
  readonly #waiting: (() => void)[] = [];
  readonly #onWanted: (() => void)[] = [];
  #running = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Does the work when its turn comes; rejects with code "Aborted" if `signal` aborts before. */
  async take<T>(work: () => Promise<T> | T, signal?: AbortSignal): Promise<T> {
    if (this.#running < this.#limit) this.#running += 1;
    else await this.#wait(signal);
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  /**
   * In the middle of work: lets others go on until `until` settles, then waits for another turn. Once `signal` is aborted it
   * goes on at once, one too many for the moment that it takes to end.
   */
  async pause(until: Promise<unknown>, signal: AbortSignal): Promise<void> {
    this.#leave();
    await until;
    if (this.#running < this.#limit || signal.aborted) this.#running += 1;
    else await this.#wait(signal).catch(() => (this.#running += 1));
  }

  /** Resolves as soon as somebody waits for a turn. */
  async wanted(): Promise<void> {
    if (this.#waiting.length === 0) await new Promise<void>((resolve) => this.#onWanted.push(resolve));
  }

  /** Whoever waits longest goes on in this one's place. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#running -= 1;
  }

  #wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = () => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        reject(new MobileMoEError('Aborted', 'The call was aborted while it waited.'));
      };
      this.#waiting.push(go);
      for (const hear of this.#onWanted.splice(0)) hear();
      if (signal?.aborted) leave();
      else signal?.addEventListener('abort', leave, { once: true });
    });
  }
}
