/** The elements of index.html, by their ids. */
function element<E extends HTMLElement>(id: string, type: new () => E): E {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
  return found;
}

export const page = {
  body: document.body,
  modelLine: element('model-line', HTMLParagraphElement),
  newChat: element('new-chat', HTMLButtonElement),
  showSettings: element('show-settings', HTMLButtonElement),
  openUrl: element('open-url', HTMLFormElement),
  url: element('url', HTMLInputElement),
  pickFolder: element('pick-folder', HTMLButtonElement),
  folderInput: element('folder-input', HTMLInputElement),
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
  notice: element('notice', HTMLDivElement),
  noticeText: element('notice-text', HTMLParagraphElement),
  noticeDetail: element('notice-detail', HTMLParagraphElement),
  noticeReload: element('notice-reload', HTMLButtonElement),
  noticeClose: element('notice-close', HTMLButtonElement),
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
