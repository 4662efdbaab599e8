/** A request of OpenAI's shape -> what the engine is asked. What it cannot do is refused by name. */
import { MobileMoEError } from './errors.js';
import type { ChatCompletionCreateParams, ChatCompletionMessageParam, CompletionCreateParams, CompletionParams } from './openai.js';
import type { WireGenerate, WirePrompt } from './protocol.js';
import { given, tokenIds, wireOptions, wireSeed } from './request.js';
import { wireFormat } from './response-format.js';
import type { ChatMessage } from './types.js';

export interface Asked {
  prompts: WirePrompt[];
  /** But for prompt and session. */
  request: Omit<WireGenerate, 'prompt' | 'session'>;
  model: string | undefined;
  logprobs: boolean;
  stream: boolean;
  includeUsage: boolean;
}

const MOST_CHOICES = 128;

/** Says who asks, to a server; changes no answer. */
const LABELS = new Set(['user', 'metadata', 'safety_identifier', 'prompt_cache_key']);

/** What asks for nothing beyond what is done anyway. */
const NEUTRAL: Record<string, (value: unknown) => boolean> = {
  tools: isEmpty,
  functions: isEmpty,
  tool_choice: (value) => value === 'none' || value === 'auto',
  function_call: (value) => value === 'none' || value === 'auto',
  parallel_tool_calls: () => true,
  modalities: (value) => Array.isArray(value) && value.every((modality) => modality === 'text'),
  store: (value) => value === false,
  service_tier: (value) => value === 'auto' || value === 'default',
  best_of: (value) => value === 1,
  echo: (value) => value === false,
  suffix: (value) => value === '',
};

const REASONS: Record<string, string> = {
  tools: 'the models were not trained to call tools',
  functions: 'the models were not trained to call functions',
  audio: 'the models write text only',
  modalities: 'the models write text only',
};

export function askedOfChat(params: ChatCompletionCreateParams): Asked {
  const { messages, max_completion_tokens, max_tokens, logprobs, top_logprobs, ...rest } = params;
  if (max_tokens != null && max_completion_tokens != null && max_tokens !== max_completion_tokens) {
    throw bad(`max_tokens is ${max_tokens} and max_completion_tokens is ${max_completion_tokens}; give one of them`);
  }
  if (top_logprobs != null && !logprobs) throw bad('top_logprobs needs logprobs: true');
  if (!Array.isArray(messages)) throw bad(`messages is ${typeof messages}; expected an array`);
  const top = logprobs ? (top_logprobs ?? 0) : undefined;
  return asked({ ...rest, max_tokens: max_completion_tokens ?? max_tokens ?? null }, [{ messages: messages.map(chatMessage) }], top);
}

export function askedOfText(params: CompletionCreateParams): Asked {
  const { prompt, logprobs, ...rest } = params;
  return asked(rest, textPrompts(prompt), logprobs ?? undefined);
}

function asked(params: CompletionParams, prompts: WirePrompt[], topLogprobs: number | undefined): Asked {
  const {
    model, max_tokens, n, stop, stream, stream_options, temperature, top_p, seed, logit_bias, frequency_penalty, presence_penalty,
    top_k, min_p, repetition_penalty, routing, response_format, ...others
  } = params;
  refuseOthers(others);
  const choices = n ?? 1;
  if (!Number.isInteger(choices) || choices < 1 || choices > MOST_CHOICES) {
    throw bad(`n is ${n}; expected an integer from 1 to ${MOST_CHOICES}`);
  }
  if (stream_options != null && !stream) throw bad('stream_options needs stream: true');
  refuseOthers({ ...stream_options, include_usage: undefined }, 'stream_options.');
  const options = wireOptions(given({
    maxTokens: max_tokens ?? undefined,
    temperature: temperature ?? undefined,
    topK: top_k ?? undefined,
    topP: top_p ?? undefined,
    minP: min_p ?? undefined,
    frequencyPenalty: frequency_penalty ?? undefined,
    presencePenalty: presence_penalty ?? undefined,
    repetitionPenalty: repetition_penalty ?? undefined,
    logitBias: logit_bias ?? undefined,
    stop: stop ?? undefined,
    routing: routing ?? undefined,
    logprobs: topLogprobs,
  }));
  return {
    prompts,
    request: { choices, seed: wireSeed(seed ?? undefined), options, format: wireFormat(response_format ?? undefined) },
    model,
    logprobs: topLogprobs !== undefined,
    stream: stream ?? false,
    includeUsage: stream_options?.include_usage ?? false,
  };
}

function chatMessage(message: ChatCompletionMessageParam, index: number): ChatMessage {
  const { role, content, ...others } = message;
  const where = `messages[${index}]`;
  if (!['system', 'developer', 'user', 'assistant'].includes(role)) {
    throw unsupported(`${where}.role "${role}"`, 'the models know system, user and assistant');
  }
  refuseOthers(others, `${where}.`);
  if (typeof content !== 'string') {
    if (!Array.isArray(content)) throw bad(`${where}.content is ${content === null ? 'null' : typeof content}; expected text`);
    const other = content.find((part) => part?.type !== 'text');
    if (other) throw unsupported(`${where}.content of type "${other.type}"`, 'the models read text only');
  }
  // Templates of text models take a string: parts are joined.
  const text = typeof content === 'string' ? content : content.map((part) => part.text).join('');
  return { role: role === 'developer' ? 'system' : role, content: text };
}

function textPrompts(prompt: CompletionCreateParams['prompt']): WirePrompt[] {
  if (typeof prompt === 'string') return [{ text: prompt }];
  if (!Array.isArray(prompt)) throw bad(`prompt is ${typeof prompt}; expected text or token ids`);
  if (typeof prompt[0] === 'number') return [{ ids: tokenIds(prompt as number[]) }];
  if (prompt.length === 0) throw bad('prompt is an empty array');
  return prompt.map((one: string | number[]) => (typeof one === 'string' ? { text: one } : { ids: tokenIds(one) }));
}

/** Refuses every parameter that is there and asks for something. */
function refuseOthers(others: object, where = ''): void {
  for (const [name, value] of Object.entries(others)) {
    if (value == null || (where === '' && (LABELS.has(name) || NEUTRAL[name]?.(value)))) continue;
    throw unsupported(`${where}${name}`, REASONS[name] ?? 'this engine knows no such parameter');
  }
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function unsupported(what: string, why: string): MobileMoEError {
  return new MobileMoEError('Unsupported', `${what} is not supported: ${why}`);
}

function bad(message: string): MobileMoEError {
  return new MobileMoEError('BadOptions', message);
}
