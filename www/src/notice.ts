import { MobileMoEError } from '../../pkg/dist/index.js';
import { element } from './element.js';

const notice = element('notice', HTMLDivElement);
const text = element('notice-text', HTMLParagraphElement);
const detail = element('notice-detail', HTMLParagraphElement);
const reload = element('notice-reload', HTMLButtonElement);
const close = element('notice-close', HTMLButtonElement);

/** What a failure means to the person in front of the page; the error's own message follows in small print. */
const MEANING: Record<string, string> = {
  NoWebGpu: 'This browser cannot reach the GPU from a page.',
  NoAdapter: 'This browser found no GPU that it may use.',
  DeviceLost: 'The GPU was taken away, perhaps for lack of memory. What is above is still here to copy.',
  OutOfMemory: 'This device has too little GPU memory for the model.',
  WorkerCrashed: 'The engine stopped unexpectedly. What is above is still here to copy.',
  HttpConnection: 'The server could not be reached.',
  HttpStatus: 'The server would not give the file.',
  HttpHtml: 'There is no checkpoint at this address.',
  MissingFile: 'A file of the checkpoint is missing.',
  BadUrl: 'This is not an address of a checkpoint.',
  PromptTooLong: 'The conversation is longer than the model can hold. Start a new chat.',
};
/** After these only a reload helps. */
const FATAL = new Set(['DeviceLost', 'WorkerCrashed']);

export function notify(thrown: unknown): void {
  const error = MobileMoEError.from(thrown);
  text.textContent = MEANING[error.code] ?? 'That did not work.';
  detail.textContent = `${error.message} (${error.code})`;
  reload.hidden = !FATAL.has(error.code);
  close.hidden = FATAL.has(error.code);
  notice.hidden = false;
}

export function hideNotice(): void {
  notice.hidden = true;
}

close.addEventListener('click', hideNotice);
reload.addEventListener('click', () => location.reload());
