// What the official client's users write and read fits: our responses are theirs, and the requests they build are taken,
// where the engine knows the parameter. Checked by the compiler; nothing here runs.
import type OpenAI from 'openai';

import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionCreateParams,
  Completion,
  CompletionCreateParams,
  CompletionUsage,
  MobileMoE,
} from '../../pkg/dist/index.js';

type Accepts<Theirs, _Ours extends Theirs> = true;

export type Responses = [
  Accepts<OpenAI.Chat.ChatCompletion, ChatCompletion>,
  Accepts<OpenAI.Chat.ChatCompletionChunk, ChatCompletionChunk>,
  Accepts<OpenAI.Completion, Completion>,
  Accepts<OpenAI.CompletionUsage, CompletionUsage>,
  Accepts<OpenAI.Model, Awaited<ReturnType<MobileMoE['models']['list']>>['data'][number]>,
  Accepts<OpenAI.Chat.ChatCompletionTokenLogprob, NonNullable<ChatCompletion['choices'][number]['logprobs']>['content'][number]>,
];

type Shared<Theirs, Ours> = Pick<Theirs, keyof Theirs & keyof Ours>;
type TheirChat = Omit<Shared<OpenAI.Chat.ChatCompletionCreateParams, ChatCompletionCreateParams>, 'messages' | 'response_format'>;
export type Requests = [
  Accepts<Omit<ChatCompletionCreateParams, 'messages' | 'response_format'>, TheirChat>,
  Accepts<ChatCompletionCreateParams['messages'], [OpenAI.Chat.ChatCompletionSystemMessageParam, OpenAI.Chat.ChatCompletionUserMessageParam & { content: string }]>,
  Accepts<ChatCompletionCreateParams['response_format'], OpenAI.ResponseFormatText | OpenAI.ResponseFormatJSONObject | OpenAI.ResponseFormatJSONSchema>,
  Accepts<CompletionCreateParams['prompt'], NonNullable<OpenAI.CompletionCreateParams['prompt']>>,
];

/** As the client's documentation has it, with our engine in place of the client. */
export async function use(client: MobileMoE): Promise<string> {
  const completion: OpenAI.Chat.ChatCompletion = await client.chat.completions.create({
    model: 'any',
    messages: [{ role: 'developer', content: 'Talk like a pirate.' }, { role: 'user', content: [{ type: 'text', text: 'Hello' }] }],
  });
  let text = completion.choices[0]?.message.content ?? '';
  const stream = await client.chat.completions.create({ model: 'any', messages: [{ role: 'user', content: 'Hello' }], stream: true });
  for await (const chunk of stream) {
    const theirs: OpenAI.Chat.ChatCompletionChunk = chunk;
    text += theirs.choices[0]?.delta?.content ?? '';
  }
  return text;
}

/** Its helpers. */
export async function helpers(client: MobileMoE): Promise<unknown> {
  const params = { model: 'any', messages: [{ role: 'user' as const, content: 'Hello' }], user: 'me', store: false, metadata: {}, verbosity: 'medium' as const };
  const stream = client.chat.completions.stream(params).on('content', (delta: string, snapshot: string) => [delta, snapshot]);
  for await (const chunk of stream) ((theirs: OpenAI.Chat.ChatCompletionChunk) => theirs)(chunk);
  const final: OpenAI.Chat.ParsedChatCompletion<{ name: string }> = await stream.finalChatCompletion();
  const parsed: { name: string } | null | undefined = (await client.chat.completions.parse(params)).choices[0]?.message.parsed;
  const [left, right] = (await client.chat.completions.create({ ...params, stream: true })).tee();
  return [final, parsed, left.controller, right.toReadableStream()];
}

/** What is not known is no property of a request. */
export const unknown: ChatCompletionCreateParams = {
  messages: [],
  // @ts-expect-error
  top_kk: 3,
};
