// Compiled, never run: the provider is what the current AI SDK takes as a model.

import { generateObject, streamText, type LanguageModel } from 'ai';

import { mobilemoe, type ProviderOptions } from '../../pkg/dist/ai-sdk.js';
import type { MobileMoE } from '../../pkg/dist/index.js';

declare const engine: MobileMoE;

export const model: LanguageModel = mobilemoe(engine, 'MobileMoE-S-QAT');
export const text = streamText({
  model,
  prompt: 'Hello',
  providerOptions: { mobilemoe: { minP: 0.1 } satisfies ProviderOptions },
});
export const session = async (): Promise<LanguageModel> => mobilemoe(await engine.createSession());
export const object = () => generateObject({ model, output: 'no-schema', prompt: 'Describe yourself.' });
