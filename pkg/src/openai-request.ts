/** A request of OpenAI's shape -> what the engine is asked. What it cannot do is refused by name. */
import { anything, bad, checkOptions, isFlag, isInteger, isObject, isSignal, isText, spelled, unsupported } from './check.js';
import { chatMessages, isEmpty, refuseOthers } from './messages.js';
import type { ChatCompletionCreateParams, CompletionCreateParams, CompletionParams, RequestOptions } from './openai.js';
import type { WireGenerate, WirePrompt } from './protocol.js';
import { tokenIds, wireRequest } from './request.js';
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

const isString = (value: unknown) => typeof value === 'string';

/** What asks for nothing beyond what is done anyway: who asks, what a server would keep, how it would bill. */
const NEUTRAL: Readonly<Record<string, (value: unknown) => boolean>> = {
  user: isString,
  safety_identifier: isString,
  prompt_cache_key: isString,
  prompt_cache_retention: isString,
  metadata: (value) => typeof value === 'object',
  store: (value) => value === false,
  service_tier: (value) => value === 'auto' || value === 'default',
  tools: isEmpty,
  functions: isEmpty,
  tool_choice: (value) => value === 'none' || value === 'auto',
  function_call: (value) => value === 'none' || value === 'auto',
  parallel_tool_calls: (value) => typeof value === 'boolean',
  modalities: (value) => Array.isArray(value) && value.every((modality) => modality === 'text'),
  reasoning_effort: (value) => value === 'none',
  verbosity: (value) => value === 'medium',
  best_of: (value) => value === 1,
  echo: (value) => value === false,
  suffix: (value) => value === '',
};

const REASONS: Readonly<Record<string, string>> = {
  tools: 'the models were not trained to call tools',
  functions: 'the models were not trained to call functions',
  audio: 'the models write text only',
  modalities: 'the models write text only',
  reasoning_effort: 'the models answer without reasoning first: "none" is taken',
  verbosity: 'the models know no such setting: "medium" is taken',
  web_search_options: 'nothing leaves the device',
  store: 'nothing is kept',
};

const ROLES = ['system', 'developer', 'user', 'assistant'];

/** OpenAI's names of the engine's options. */
const NAMES = {
  maxTokens: 'max_tokens',
  temperature: 'temperature',
  topK: 'top_k',
  topP: 'top_p',
  minP: 'min_p',
  seed: 'seed',
  frequencyPenalty: 'frequency_penalty',
  presencePenalty: 'presence_penalty',
  repetitionPenalty: 'repetition_penalty',
  logitBias: 'logit_bias',
  stop: 'stop',
  routing: 'routing',
  responseFormat: 'response_format',
} as const;

export function askedOfChat(params: ChatCompletionCreateParams): Asked {
  isObject(params, 'params');
  const { messages, max_completion_tokens, logprobs, top_logprobs, ...rest } = params;
  const { max_tokens } = rest;
  if (max_tokens != null && max_completion_tokens != null && max_tokens !== max_completion_tokens) {
    throw bad('max_tokens', `max_tokens is ${spelled(max_tokens)} and max_completion_tokens is ${spelled(max_completion_tokens)}; give one of them`);
  }
  if (logprobs != null) isFlag(logprobs, 'logprobs');
  if (top_logprobs != null) isInteger(0, 20)(top_logprobs, 'top_logprobs');
  if (top_logprobs && !logprobs) throw bad('top_logprobs', 'top_logprobs needs logprobs: true');
  return asked(
    max_completion_tokens == null ? rest : { ...rest, max_tokens: max_completion_tokens },
    [{ messages: openAiMessages(messages) }],
    logprobs ? (top_logprobs ?? 0) : undefined,
    { logprobs: 'top_logprobs', ...(max_completion_tokens != null && { maxTokens: 'max_completion_tokens' }) },
  );
}

export function askedOfText(params: CompletionCreateParams): Asked {
  isObject(params, 'params');
  const { prompt, logprobs, ...rest } = params;
  return asked(rest, textPrompts(prompt), logprobs ?? undefined, { logprobs: 'logprobs' });
}

/** `logprobs`: how many of the likeliest tokens to report, if any. `renamed`: names that depend on the kind of request. */
function asked(params: CompletionParams, prompts: WirePrompt[], logprobs: number | undefined, renamed: Record<string, string>): Asked {
  const { model, n, stream, stream_options, ...rest } = params;
  const names: Record<string, string> = { ...NAMES, ...renamed };
  const others: Record<string, unknown> = { ...rest };
  const options: Record<string, unknown> = { logprobs };
  for (const [name, theirs] of Object.entries(NAMES)) {
    options[name] = others[theirs];
    delete others[theirs];
  }
  refuseOthers(others, NEUTRAL, '', (name) => (Object.hasOwn(REASONS, name) ? REASONS[name]! : 'this engine knows no such parameter'));
  if (model != null) isText(model, 'model');
  if (stream != null) isFlag(stream, 'stream');
  const choices = n ?? 1;
  isInteger(1, MOST_CHOICES)(choices, 'n');
  return {
    prompts,
    request: { ...wireRequest(options, (name) => names[name] ?? name), choices },
    model: model ?? undefined,
    logprobs: logprobs !== undefined,
    stream: stream ?? false,
    includeUsage: includesUsage(stream_options, stream ?? false),
  };
}

function includesUsage(options: CompletionParams['stream_options'], stream: boolean): boolean {
  if (options == null) return false;
  isObject(options, 'stream_options');
  const { include_usage, ...others } = options;
  refuseOthers(others, { include_obfuscation: (value) => value === false }, 'stream_options.', 'this engine knows no such parameter');
  if (include_usage == null) return false;
  isFlag(include_usage, 'stream_options.include_usage');
  if (include_usage && !stream) throw bad('stream_options', 'stream_options.include_usage needs stream: true');
  return include_usage;
}

function openAiMessages(messages: unknown): ChatMessage[] {
  return chatMessages(messages, 'messages').map(({ role, content }, i) => {
    const where = `messages[${i}].role`;
    if (!ROLES.includes(role)) throw unsupported(where, `${where} ${spelled(role)}`, 'the models know system, user and assistant');
    return { role: role === 'developer' ? 'system' : role, content };
  });
}

function textPrompts(prompt: unknown): WirePrompt[] {
  if (typeof prompt === 'string') return [{ text: prompt }];
  if (!Array.isArray(prompt)) throw bad('prompt', `prompt is ${spelled(prompt)}; expected text or token ids`);
  if (prompt.length === 0) throw bad('prompt', 'prompt is an empty array');
  if (typeof prompt[0] === 'number') return [{ ids: tokenIds(prompt as number[], 'prompt') }];
  return Array.from(prompt as unknown[], (one, i) => {
    if (typeof one === 'string') return { text: one };
    if (!Array.isArray(one)) throw bad(`prompt[${i}]`, `prompt[${i}] is ${spelled(one)}; expected text or token ids`);
    return { ids: tokenIds(one as number[], `prompt[${i}]`) };
  });
}

/**
 * The second argument. What the OpenAI client has there for HTTP asks for nothing here, where there is none; `timeout` is held to.
 */
export function requestOptions(options: RequestOptions | null | undefined): { signal: AbortSignal | undefined; session: number | undefined } {
  const { signal, timeout, session } = checkOptions(options, {
    signal: isSignal,
    session: isSession,
    timeout: isInteger(0, 0x7fff_ffff, 'a count of milliseconds'),
    headers: anything,
    maxRetries: anything,
    idempotencyKey: anything,
    fetchOptions: anything,
  });
  const signals = [signal, timeout == null ? undefined : AbortSignal.timeout(timeout)].filter((signal) => signal != null);
  return { signal: signals.length > 1 ? AbortSignal.any(signals) : signals[0], session: session?.number };
}

function isSession(value: unknown, name: string): void {
  if (typeof (value as { number?: unknown } | null)?.number !== 'number') {
    throw bad(name, `${name} is ${spelled(value)}; expected what createSession() gave`);
  }
}
