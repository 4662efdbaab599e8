import type { ChatMessage, MobileMoE, Generation, GenerateOptions, GenerationStream } from '../../pkg/dist/index.js';
import * as format from './format.js';
import { notify } from './notice.js';
import { page } from './page.js';

const ENDED: Record<Generation['finishReason'], string> = {
  stop: '',
  length: 'cut at the limit',
  abort: 'stopped',
  stop_string: '',
};

/** The conversation with one engine. */
export class Chat {
  readonly #engine: MobileMoE;
  readonly #options: () => GenerateOptions;
  #messages: ChatMessage[] = [];
  #running: GenerationStream | undefined;

  constructor(engine: MobileMoE, options: () => GenerateOptions) {
    this.#engine = engine;
    this.#options = options;
    this.clear();
  }

  get busy(): boolean {
    return this.#running !== undefined;
  }

  clear(): void {
    this.stop();
    this.#messages = [];
    page.transcript.replaceChildren();
  }

  stop(): void {
    this.#running?.abort();
  }

  async ask(question: string): Promise<void> {
    const messages: ChatMessage[] = [...this.#messages, { role: 'user', content: question }];
    const asked = append('asked', question);
    const answer = append('answered writing');
    const words = answer.appendChild(span('words'));
    const stream = this.#engine.generate(messages, this.#options());
    this.#running = stream;
    page.transcript.ariaBusy = 'true'; // a screen reader reads the answer once, when it is whole
    try {
      const paint = painter(words);
      for await (const piece of stream) paint.add(piece);
      const generation = await stream.result;
      paint.finish(generation.text);
      if (!answer.isConnected) return; // a new chat was begun meanwhile
      this.#messages = [...messages, { role: 'assistant', content: generation.text }];
      answer.append(note(generation));
      followEnd();
    } catch (error) {
      if (!words.textContent) {
        answer.remove();
        asked.remove();
        page.prompt.value ||= question;
      }
      notify(error);
    } finally {
      answer.classList.remove('writing');
      page.transcript.ariaBusy = 'false';
      this.#running = undefined;
    }
  }
}

/** Appends pieces once a frame, however fast they come; `finish` sets the whole text, whatever still waits for its frame. */
function painter(words: HTMLElement): { add: (piece: string) => void; finish: (text: string) => void } {
  let waiting = '';
  return {
    add(piece) {
      if (!waiting) {
        requestAnimationFrame(() => {
          const follow = nearEnd();
          words.append(waiting);
          waiting = '';
          if (follow) followEnd();
        });
      }
      waiting += piece;
    },
    finish(text) {
      waiting = '';
      words.textContent = text;
    },
  };
}

const page_ = document.documentElement;
const nearEnd = () => page_.scrollHeight - page_.scrollTop - page_.clientHeight < 120;
const followEnd = () => page_.scrollTo({ top: page_.scrollHeight });

function append(className: string, text = ''): HTMLLIElement {
  const item = document.createElement('li');
  item.className = className;
  item.textContent = text;
  page.transcript.append(item);
  followEnd();
  return item;
}

function span(className: string, text = ''): HTMLSpanElement {
  const out = document.createElement('span');
  out.className = className;
  out.textContent = text;
  return out;
}

/** The figures of an answer. */
function note(generation: Generation): HTMLElement {
  const out = document.createElement('div');
  out.className = 'note';
  const { tokens, tokensPerSecond, firstTokenMs, finishReason } = generation;
  const parts = [format.plural(tokens.length, 'token')];
  if (tokensPerSecond > 0) parts.push(`${tokensPerSecond.toFixed(1)} tokens/s`);
  if (firstTokenMs !== undefined) parts.push(`first after ${format.milliseconds(firstTokenMs)}`);
  if (ENDED[finishReason]) parts.push(ENDED[finishReason]);
  out.append(...parts.map((part) => span('', part)));
  return out;
}
