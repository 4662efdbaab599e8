/** The caller's options in the form that the worker takes. What cannot be done is refused here or there, never dropped. */
import {
  anything, bad, checkOptions, isArrayOf, isFlag, isFunction, isInteger, isNumber, isObject, isSignal, isText, spelled, type Check,
} from './check.js';
import { chatMessages } from './messages.js';
import type { WireGenerate, WireOptions, WirePrompt } from './protocol.js';
import { wireFormat } from './response-format.js';
import type { GenerateOptions, Prompt } from './types.js';

/** As llama.cpp and LM Studio have it: as many as the context has room for. */
const NO_LIMIT = -1;

const GENERATE: Readonly<Record<keyof GenerateOptions, Check>> = {
  maxTokens: (value, name) => value === NO_LIMIT || isInteger(0, Number.MAX_SAFE_INTEGER, 'a count of tokens, or -1 for no limit')(value, name),
  temperature: isNumber((value) => value >= 0 && value <= 100, 'from 0 to 100'),
  topK: isInteger(0, 0xffff_ffff, 'a count of tokens, 0 for all'),
  topP: isNumber((value) => value > 0 && value <= 1, 'above 0 and at most 1'),
  minP: isNumber((value) => value >= 0 && value <= 1, 'from 0 to 1'),
  seed: (value, name) => {
    if (!Number.isSafeInteger(value)) throw bad(name, `${name} is ${spelled(value)}; expected a safe integer`, 'Option');
  },
  frequencyPenalty: isNumber((value) => value >= -100 && value <= 100, 'from -100 to 100'),
  presencePenalty: isNumber((value) => value >= -100 && value <= 100, 'from -100 to 100'),
  repetitionPenalty: isNumber((value) => value > 0 && value <= 100, 'above 0 and at most 100'),
  logitBias: (value, name) => {
    isObject(value, name);
    for (const [id, bias] of Object.entries(value as object)) {
      if (!/^\d+$/.test(id) || Number(id) > 0xffff_ffff) throw bad(name, `${name} names ${spelled(id)}; expected ids of tokens`);
      isNumber((value) => Math.abs(value) <= 1e4, 'from -10000 to 10000')(bias, `${name}[${id}]`);
    }
  },
  stop: (value, name) => typeof value === 'string' || isArrayOf(isText, 'a string or an array of strings')(value, name),
  logprobs: isInteger(0, 20),
  responseFormat: anything, // by `wireFormat`
  routing: isFlag,
  onPrompt: isFunction,
  signal: isSignal,
};

/** What `generate` asks of the worker, but for the session. `called`: the caller's names of options, where they differ. */
export function wireRequest(
  options: GenerateOptions,
  called?: (name: string) => string,
): { choices: number; seed: number; options: WireOptions; format: WireGenerate['format'] } {
  const name = called ?? ((name: string) => name);
  const { stop, logprobs, logitBias, maxTokens, signal: _signal, onPrompt: _onPrompt, seed, responseFormat, ...as_is } =
    checkOptions(options, GENERATE, called);
  const format = wireFormat(responseFormat, name('responseFormat'));
  const stops = stop === undefined ? undefined : typeof stop === 'string' ? [stop] : [...stop];
  const cutting = stops?.find((stop) => format && wouldCut(stop, format));
  if (cutting !== undefined) {
    throw bad(name('stop'), `${name('stop')} ${spelled(cutting)} would cut the JSON that ${name('responseFormat')} asks for; leave it out: the answer ends when the JSON is whole`);
  }
  return {
    choices: 1,
    seed: seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!,
    format,
    options: given({
      ...as_is,
      maxTokens: maxTokens === NO_LIMIT ? undefined : maxTokens,
      stop: stops,
      topLogprobs: logprobs,
      logitBias: logitBias && Object.entries(logitBias).map(([id, bias]): [number, number] => [Number(id), bias]),
    }),
  };
}

/** Whether a stop string is part of what the JSON needs: its syntax, or a name or value of its schema. */
function wouldCut(stop: string, { kind, source }: NonNullable<WireGenerate['format']>): boolean {
  if (kind === 'json_object') return true;
  return kind === 'json_schema' && (/[\s{}[\]":,]/.test(stop) || source.includes(stop));
}

export function wirePrompt(prompt: Prompt): WirePrompt {
  if (typeof prompt === 'string') return { text: prompt };
  if (typeof prompt !== 'object' || prompt === null || !Number.isSafeInteger(prompt.length)) {
    throw bad('prompt', `prompt is ${spelled(prompt)}; expected a text, messages or token ids`);
  }
  const isIds = prompt.length === 0 || typeof prompt[0] === 'number';
  return isIds ? { ids: tokenIds(prompt as ArrayLike<number>, 'ids') } : { messages: chatMessages(prompt, 'prompt') };
}

/** Ids as the engine takes them; a value that is no 32-bit id is refused here, where a typed array would wrap it. */
export function tokenIds(ids: ArrayLike<number>, name = 'ids'): Uint32Array {
  if (typeof ids !== 'object' || ids === null || !Number.isSafeInteger(ids.length)) {
    throw bad(name, `${name} is ${spelled(ids)}; expected token ids`);
  }
  const out = new Uint32Array(ids.length);
  for (let i = 0; i < ids.length; i++) {
    const id: unknown = ids[i];
    if (typeof id === 'number') out[i] = id;
    if (out[i] !== id) {
      throw bad(`${name}[${i}]`, `${name}[${i}] is ${spelled(id)}; expected a token id`, 'TokenOutOfRange');
    }
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
