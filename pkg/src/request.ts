/** The caller's options in the form that the worker takes. What cannot be done is refused here or there, never dropped. */
import { MobileMoEError } from './errors.js';
import type { WireOptions, WirePrompt } from './protocol.js';
import type { ChatMessage, GenerateOptions, Prompt } from './types.js';

export function wirePrompt(prompt: Prompt): WirePrompt {
  if (typeof prompt === 'string') return { text: prompt };
  const isChat = Array.isArray(prompt) && typeof prompt[0] === 'object';
  return isChat ? { messages: prompt as readonly ChatMessage[] } : { ids: tokenIds(prompt as ArrayLike<number>) };
}

/** The options but for prompt, session, seed and format; refuses names that it does not know. */
export function wireOptions(options: GenerateOptions): WireOptions {
  const { stop, logprobs, logitBias, signal: _signal, onPrompt: _onPrompt, seed: _seed, responseFormat: _format, ...rest } = options;
  const { maxTokens, temperature, topK, topP, minP, frequencyPenalty, presencePenalty, repetitionPenalty, routing, ...unknown } = rest;
  const [name] = Object.keys(unknown);
  if (name !== undefined) throw new MobileMoEError('BadOptions', `options: there is no "${name}"`);
  return given({
    maxTokens, temperature, topK, topP, minP, frequencyPenalty, presencePenalty, repetitionPenalty, routing,
    stop: stop === undefined ? undefined : typeof stop === 'string' ? [stop] : [...stop],
    topLogprobs: logprobs,
    logitBias: logitBias && Object.entries(logitBias).map(([id, bias]): [number, number] => [Number(id), bias]),
  });
}

/** A seed as given, or a fresh one of 32 bits. */
export function wireSeed(seed: number | undefined): number {
  if (seed === undefined) return crypto.getRandomValues(new Uint32Array(1))[0]!;
  if (!Number.isSafeInteger(seed)) throw new MobileMoEError('Option', `option seed is ${seed}; it must be a safe integer`);
  return seed;
}

/** Ids as the engine takes them; a value that is no 32-bit id is refused here, where a typed array would wrap it. */
export function tokenIds(ids: ArrayLike<number>): Uint32Array {
  const out = Uint32Array.from(ids);
  for (let i = 0; i < ids.length; i++) {
    if (out[i] !== ids[i]) throw new MobileMoEError('TokenOutOfRange', `ids[${i}] is ${ids[i]}; expected a token id`);
  }
  return out;
}

/** A copy without the proxies that reactive state of Vue, Svelte and others is made of: those cannot be sent. */
export function plain<T>(value: T): T;
export function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (Object.prototype.toString.call(value) !== '[object Object]') return value; // a primitive, a file, a typed array
  return Object.fromEntries(Object.entries(value as object).map(([name, field]) => [name, plain(field)]));
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The fields that are not `undefined`. */
export function given<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Given<T>;
}
