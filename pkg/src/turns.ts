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
      // Whoever waits longest goes on in this one's place.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
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
      if (signal?.aborted) leave();
      else signal?.addEventListener('abort', leave, { once: true });
    });
  }
}
