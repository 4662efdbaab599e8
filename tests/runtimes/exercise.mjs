// What every runtime is put through with the pocket model: three greedy answers, a session, a structured output. Pages, Node and
// Deno import this same file; what comes back is plain JSON.

const PROMPTS = ['My name is Ada. What is my name?', 'What is 2 + 3?', 'Tell me a story about a goat.'];
const MAX_TOKENS = 12;

/**
 * @param {typeof import('../../pkg/dist/index.js').MobileMoE} MobileMoE
 * @param {'thread' | 'workgroup'} style of kernels: SwiftShader runs the former faster, lavapipe compiles the latter faster
 */
export async function exercise(MobileMoE, style) {
  const start = performance.now();
  const engine = await MobileMoE.load('pocket', { variant: { decode: style, prefill: style } });
  const loadMs = performance.now() - start;

  const answers = [];
  for (const content of PROMPTS) answers.push(await answer(engine, content));

  const session = await engine.createSession();
  const messages = [{ role: 'user', content: 'My name is Tom.' }];
  const { text } = await session.generate(messages, { maxTokens: MAX_TOKENS }).result;
  messages.push({ role: 'assistant', content: text }, { role: 'user', content: 'What is my name?' });
  const second = await session.generate(messages, { maxTokens: MAX_TOKENS }).result;

  const schema = { type: 'object', properties: { happy: { type: 'boolean' } }, required: ['happy'], additionalProperties: false };
  const { choices } = await engine.chat.completions.create({
    messages: [{ role: 'user', content: 'Is the goat happy?' }],
    response_format: { type: 'json_schema', json_schema: { name: 'mood', schema } },
    max_tokens: 24,
  });
  engine.dispose();
  return {
    texts: answers.map(({ text }) => text),
    session: { text: second.text, reused: second.cachedTokens > 0 },
    structured: choices[0].message.content,
    times: { loadMs, firstMs: answers[0].firstMs, secondMs: answers[1].firstMs },
  };
}

/** A streamed answer and the time to its first piece. */
async function answer(engine, content) {
  const start = performance.now();
  const stream = await engine.chat.completions.create({ messages: [{ role: 'user', content }], max_tokens: MAX_TOKENS, stream: true });
  let text = '';
  let firstMs;
  for await (const { choices } of stream) {
    const piece = choices[0]?.delta.content;
    if (!piece) continue;
    firstMs ??= performance.now() - start;
    text += piece;
  }
  return { text, firstMs };
}
