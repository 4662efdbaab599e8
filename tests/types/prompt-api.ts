// What stands in for the browser's `LanguageModel` fits where that is expected. Checked by the compiler; nothing here runs.
/// <reference types="dom-chromium-ai" />
import type { MobileMoE } from '../../pkg/dist/index.js';
import { languageModel } from '../../pkg/dist/prompt-api.js';

declare const engine: MobileMoE;
type Statics = Pick<typeof LanguageModel, 'availability' | 'create' | 'params'>;

export async function use(): Promise<string> {
  const api: Statics = 'LanguageModel' in globalThis ? LanguageModel : languageModel(engine);
  if ((await api.availability({ expectedInputs: [{ type: 'text', languages: ['en'] }] })) === 'unavailable') return '';
  const session: LanguageModel = await api.create({
    initialPrompts: [{ role: 'system', content: 'Be brief.' }],
    monitor: (monitor) => monitor.addEventListener('downloadprogress', ({ loaded }) => void loaded),
    signal: AbortSignal.timeout(1000),
  });
  session.addEventListener('contextoverflow', () => {});
  await session.append([{ role: 'user', content: [{ type: 'text', value: 'Hello' }] }, { role: 'assistant', content: 'Hi' }]);
  for await (const piece of session.promptStreaming('Hello')) void (piece satisfies string);
  const clone = await session.clone();
  session.destroy();
  return clone.prompt([{ role: 'user', content: 'Hi' }, { role: 'assistant', content: '{', prefix: true }], { responseConstraint: {}, signal: AbortSignal.timeout(1) });
}

/** As the README has it. */
export async function readme(): Promise<string> {
  const Model = 'LanguageModel' in globalThis ? LanguageModel : languageModel(engine);
  const session = await Model.create({ initialPrompts: [{ role: 'system', content: 'Be brief.' }] });
  return session.prompt('Name one JVM language.');
}
