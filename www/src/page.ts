import { element } from './element.js';

/** The elements of index.html, by their ids. */
export const page = {
  body: document.body,
  modelLine: element('model-line', HTMLParagraphElement),
  newChat: element('new-chat', HTMLButtonElement),
  showSettings: element('show-settings', HTMLButtonElement),
  openUrl: element('open-url', HTMLFormElement),
  url: element('url', HTMLInputElement),
  pickFolder: element('pick-folder', HTMLButtonElement),
  folderInput: element('folder-input', HTMLInputElement),
  served: element('served', HTMLParagraphElement),
  openSynthetic: element('open-synthetic', HTMLButtonElement),
  capability: element('capability', HTMLParagraphElement),
  loadingName: element('loading-name', HTMLSpanElement),
  loadingBar: element('loading-bar', HTMLProgressElement),
  loadingLine: element('loading-line', HTMLParagraphElement),
  cancelLoad: element('cancel-load', HTMLButtonElement),
  transcript: element('transcript', HTMLOListElement),
  composer: element('composer', HTMLFormElement),
  prompt: element('prompt', HTMLTextAreaElement),
  send: element('send', HTMLButtonElement),
  stop: element('stop', HTMLButtonElement),
  settings: element('settings', HTMLDialogElement),
  temperature: element('temperature', HTMLInputElement),
  temperatureValue: element('temperature-value', HTMLOutputElement),
  topP: element('top-p', HTMLInputElement),
  topPValue: element('top-p-value', HTMLOutputElement),
  maxTokens: element('max-tokens', HTMLInputElement),
  seed: element('seed', HTMLInputElement),
};

export type View = 'open' | 'loading' | 'chat';

export function show(view: View): void {
  page.body.dataset.view = view;
}
