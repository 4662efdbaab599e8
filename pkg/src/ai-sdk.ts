/**
 * An engine as a language model of the Vercel AI SDK (specification v3: `ai` 6 and 7).
 *
 * ```ts
 * import { streamText } from 'ai';
 * import { mobilemoe } from 'mobilemoe-web/ai-sdk';
 *
 * const { textStream } = streamText({ model: mobilemoe(engine), prompt: 'Name one JVM language.' });
 * ```
 *
 * @module
 */
import type {
  LanguageModelV3,
  LanguageModelV3CallOptions,
  LanguageModelV3GenerateResult,
  LanguageModelV3Prompt,
  LanguageModelV3StreamPart,
  LanguageModelV3StreamResult,
  LanguageModelV3Usage,
} from '@ai-sdk/provider';
import { MobileMoEError } from './errors.js';
import type { MobileMoE } from './mobilemoe.js';
import type { Session } from './session.js';
import { readable, type GenerationStream } from './stream.js';
import type { ChatMessage, GenerateOptions, Generation } from './types.js';

/**
 * `providerOptions.mobilemoe` of a call: what the SDK has no name for. A `responseFormat` here is for regexes and grammars;
 * JSON goes by the SDK's own `generateObject`.
 */
export type ProviderOptions = Pick<GenerateOptions, 'minP' | 'repetitionPenalty' | 'logitBias' | 'responseFormat'>;

/**
 * @param engine - or one of its sessions, whose KV cache nobody else's calls overwrite.
 * @param modelId - what the SDK calls the model.
 */
export function mobilemoe(engine: MobileMoE | Session, modelId = 'mobilemoe'): LanguageModelV3 {
  /** What is wrong with a call is thrown at once; the answer begins when it is asked for. */
  const answering = (options: LanguageModelV3CallOptions) => {
    const [prompt, given] = [messages(options.prompt), generateOptions(options)];
    return () => engine.generate(prompt, given);
  };
  return {
    specificationVersion: 'v3',
    provider: 'mobilemoe',
    modelId,
    supportedUrls: {},

    async doGenerate(options): Promise<LanguageModelV3GenerateResult> {
      const generation = await answering(options)().result;
      throwIfAborted(generation, options);
      return { content: [{ type: 'text', text: generation.text }], ...ending(generation), warnings: [] };
    },

    async doStream(options): Promise<LanguageModelV3StreamResult> {
      const start = answering(options);
      let answer: GenerationStream | undefined;
      return { stream: readable(parts(), () => answer?.abort()) };

      async function* parts(): AsyncGenerator<LanguageModelV3StreamPart, void, undefined> {
        const id = '0';
        answer = start();
        try {
          yield { type: 'stream-start', warnings: [] };
          yield { type: 'text-start', id };
          for await (const delta of answer) yield { type: 'text-delta', id, delta };
          const generation = await answer.result;
          throwIfAborted(generation, options);
          yield { type: 'text-end', id };
          yield { type: 'finish', ...ending(generation) };
        } catch (error) {
          if (options.abortSignal?.aborted) throw error;
          // A part of the stream, so that the SDK's onError hears of it.
          yield { type: 'error', error };
          yield { type: 'finish', finishReason: { unified: 'error', raw: undefined }, usage: UNKNOWN_USAGE };
        } finally {
          answer.abort(); // the reader may leave before the first piece
        }
      }
    },
  };
}

const UNKNOWN_USAGE: LanguageModelV3Usage = {
  inputTokens: { total: undefined, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: undefined, text: undefined, reasoning: undefined },
};

function generateOptions(options: LanguageModelV3CallOptions): GenerateOptions {
  const { maxOutputTokens, stopSequences, abortSignal, responseFormat, tools, toolChoice, providerOptions } = options;
  const { temperature, topP, topK, presencePenalty, frequencyPenalty, seed } = options;
  if (tools?.length && toolChoice?.type !== 'none') throw unsupported('tools', 'the models were not trained to call tools');
  const given = {
    maxTokens: maxOutputTokens,
    temperature,
    topP,
    topK,
    presencePenalty,
    frequencyPenalty,
    seed,
    stop: stopSequences,
    signal: abortSignal,
    responseFormat: jsonFormat(responseFormat),
    ...providerOptions?.['mobilemoe'],
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function jsonFormat(format: LanguageModelV3CallOptions['responseFormat']): GenerateOptions['responseFormat'] {
  if (format?.type !== 'json') return undefined;
  if (!format.schema) return { type: 'json_object' };
  return { type: 'json_schema', json_schema: { schema: format.schema as Record<string, unknown> } };
}

function messages(prompt: LanguageModelV3Prompt): ChatMessage[] {
  return prompt.map((message) => {
    if (message.role === 'system') return { role: 'system', content: message.content };
    if (message.role === 'tool') throw unsupported('a tool message', 'the models were not trained to call tools');
    const texts = message.content.map((part) => {
      if (part.type !== 'text') throw unsupported(`a message with a part of type "${part.type}"`, 'the models read and write text only');
      return part.text;
    });
    return { role: message.role, content: texts.join('') };
  });
}

/** The SDK tells an abort by the error that the signal gives. */
function throwIfAborted({ finishReason }: Generation, { abortSignal }: LanguageModelV3CallOptions): void {
  if (finishReason !== 'abort') return;
  abortSignal?.throwIfAborted();
  throw new MobileMoEError('Aborted', 'The call was aborted.');
}

function ending({ finishReason, promptTokens, cachedTokens, tokens, seed, firstTokenMs, tokensPerSecond }: Generation) {
  const usage: LanguageModelV3Usage = {
    inputTokens: { total: promptTokens, noCache: promptTokens - cachedTokens, cacheRead: cachedTokens, cacheWrite: undefined },
    outputTokens: { total: tokens.length, text: tokens.length, reasoning: undefined },
  };
  const unified: 'length' | 'stop' = finishReason === 'length' ? 'length' : 'stop';
  return {
    finishReason: { unified, raw: finishReason },
    usage,
    providerMetadata: { mobilemoe: { seed, tokensPerSecond, ...(firstTokenMs !== undefined && { firstTokenMs }) } },
  };
}

function unsupported(what: string, why: string): MobileMoEError {
  return new MobileMoEError('Unsupported', `${what} is not supported: ${why}`);
}
