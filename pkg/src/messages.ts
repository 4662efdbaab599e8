/** Messages as callers send them -> as the chat template takes them. What is wrong with one is named by its path. */
import { bad, isText, spelled, unsupported } from './check.js';
import type { ChatMessage } from './types.js';

/** In a history from a server, what says nothing to the model: labels, and lists with nothing in them. */
const NEUTRAL: Readonly<Record<string, (value: unknown) => boolean>> = {
  name: (value) => typeof value === 'string',
  id: (value) => typeof value === 'string',
  refusal: (value) => value === '',
  annotations: isEmpty,
  tool_calls: isEmpty,
  images: isEmpty,
  reasoning_content: (value) => value === '',
  reasoning: (value) => value === '',
  parsed: () => true, // the content once more, as `parse()` adds it
};
/** Of a part of a content. */
const NEUTRAL_IN_PART: Readonly<Record<string, (value: unknown) => boolean>> = { annotations: isEmpty, cache_control: () => true };

/** `where`: what the caller calls the messages. */
export function chatMessages(messages: unknown, where: string): ChatMessage[] {
  if (!Array.isArray(messages)) throw bad(where, `${where} is ${spelled(messages)}; expected an array of messages`);
  if (messages.length === 0) throw bad(where, `${where} is empty; expected at least one message`);
  return Array.from(messages, (message: unknown, i) => chatMessage(message, `${where}[${i}]`));
}

function chatMessage(message: unknown, where: string): ChatMessage {
  if (typeof message !== 'object' || message === null || Array.isArray(message)) {
    throw bad(where, `${where} is ${spelled(message)}; expected { role, content }`);
  }
  const { role, content, ...others } = message as { role?: unknown; content?: unknown };
  if (typeof role !== 'string' || role === '') throw bad(`${where}.role`, `${where}.role is ${spelled(role)}; expected "system", "user" or "assistant"`);
  refuseOthers(others, NEUTRAL, `${where}.`, 'the models read role and content only');
  return { role, content: textOf(content, `${where}.content`) };
}

/** Templates of text models take a string: parts are joined. */
function textOf(content: unknown, where: string): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content) || content.length === 0) {
    throw bad(where, `${where} is ${Array.isArray(content) ? 'an empty array' : spelled(content)}; expected text, or parts of type "text"`);
  }
  return Array.from(content, (part: unknown, i) => partText(part, `${where}[${i}]`)).join('');
}

function partText(part: unknown, where: string): string {
  if (typeof part !== 'object' || part === null) throw bad(where, `${where} is ${spelled(part)}; expected { type: "text", text }`);
  const { type, text, ...others } = part as { type?: unknown; text?: unknown };
  if (typeof type !== 'string') throw bad(`${where}.type`, `${where}.type is ${spelled(type)}; expected "text"`);
  if (type !== 'text') throw unsupported(`${where}.type`, `${where}.type "${type}"`, 'the models read text only');
  isText(text, `${where}.text`);
  refuseOthers(others, NEUTRAL_IN_PART, `${where}.`, 'the models read text only');
  return text as string;
}

/** Refuses every field that is there and asks for something. */
export function refuseOthers(
  others: object,
  neutral: Readonly<Record<string, (value: unknown) => boolean>>,
  where: string,
  why: string | ((name: string) => string),
): void {
  for (const [name, value] of Object.entries(others)) {
    if (value == null || (Object.hasOwn(neutral, name) && neutral[name]!(value))) continue;
    throw unsupported(where + name, where + name, typeof why === 'string' ? why : why(name));
  }
}

export function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}
