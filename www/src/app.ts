/** The demo: open a checkpoint, talk to it. It uses the package as any page would. */
import type { GenerateOptions, MobileMoE } from '../../pkg/dist/index.js';
import { capability } from './capability.js';
import { Chat } from './chat.js';
import * as format from './format.js';
import { hideNotice, notify } from './notice.js';
import { offerToOpen } from './open.js';
import { page, show } from './page.js';

let chat: Chat | undefined;

void capability().then(({ ok, text }) => {
  page.capability.dataset.ok = String(ok);
  page.capability.textContent = text;
});
offerToOpen((engine, name) => {
  chat = new Chat(engine, generationOptions);
  page.modelLine.textContent = describe(engine, name);
  page.modelLine.title = page.modelLine.textContent;
  show('chat');
  page.prompt.focus();
  void engine.lost.then((error) => {
    page.send.disabled = true;
    notify(error);
  });
});

function describe({ facts }: MobileMoE, name: string): string {
  return `${name} · ${facts.adapter} · ${format.bytes(facts.weightBytes + facts.scratchBytes)} on the GPU`;
}

function generationOptions(): GenerateOptions {
  const seed = page.seed.valueAsNumber;
  return {
    temperature: page.temperature.valueAsNumber,
    topP: page.topP.valueAsNumber,
    maxTokens: page.maxTokens.valueAsNumber,
    ...(Number.isFinite(seed) && { seed }),
  };
}

async function send(): Promise<void> {
  const question = page.prompt.value.trim();
  if (!chat || chat.busy || page.send.disabled || !question) return;
  page.prompt.value = '';
  hideNotice();
  page.send.hidden = true;
  page.stop.hidden = false;
  await chat.ask(question);
  page.send.hidden = false;
  page.stop.hidden = true;
}

page.composer.addEventListener('submit', (event) => {
  event.preventDefault();
  void send();
});
page.prompt.addEventListener('keydown', (event) => {
  // On a phone's keyboard Enter is a new line, as everywhere else on it.
  const sends = event.key === 'Enter' && !event.shiftKey && !event.isComposing && matchMedia('(pointer: fine)').matches;
  if (!sends) return;
  event.preventDefault();
  void send();
});
page.stop.addEventListener('click', () => chat?.stop());
page.newChat.addEventListener('click', () => {
  chat?.clear();
  page.prompt.focus();
});
page.showSettings.addEventListener('click', () => page.settings.showModal());

function showSliders(): void {
  const temperature = page.temperature.valueAsNumber;
  page.temperatureValue.textContent = temperature === 0 ? '0: the likeliest word' : temperature.toFixed(2);
  page.topPValue.textContent = page.topP.valueAsNumber.toFixed(2);
}
page.settings.addEventListener('input', showSliders);
showSliders();
