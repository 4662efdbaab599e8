import { MobileMoEError } from './errors.js';
import type { WireFormat } from './protocol.js';

/**
 * What an answer has to be; every token is chosen among those that keep it so, on the GPU. An answer that `maxTokens` or
 * the context's end cuts off (finish reason "length") is the beginning of one that would be valid.
 *
 * The first use loads a WASM module of its own. It does the work of llguidance, whose documentation tells what of JSON
 * Schema it holds to; a schema that asks for more is refused with code "BadConstraint".
 */
export type ResponseFormat =
  | { type: 'text' }
  /** Any JSON object. */
  | { type: 'json_object' }
  /** JSON that is valid under a schema (drafts 4 to 2020-12, references within it only). `strict` or not, it is held to. */
  | {
      type: 'json_schema';
      json_schema: {
        schema?: Readonly<Record<string, unknown>> | boolean;
        /** Labels; they change nothing. */
        name?: string;
        description?: string;
        strict?: boolean | null;
      };
    }
  /** Ours: a whole match, in the syntax of Rust's `regex`, without look-around. */
  | { type: 'regex'; regex: string }
  /** Ours: a context-free grammar whose start symbol is `start`, in llguidance's variant of Lark. */
  | { type: 'grammar'; grammar: string };

/** A format as the worker takes it; `undefined` if it asks for nothing. */
export function wireFormat(format: ResponseFormat | undefined): WireFormat | undefined {
  if (format === undefined) return undefined;
  const bad = (message: string) => new MobileMoEError('BadOptions', `response_format${message}`);
  switch (format?.type) {
    case 'text':
      return undefined;
    case 'json_object':
      return { kind: 'json_object', source: '' };
    case 'json_schema': {
      const schema = format.json_schema?.schema;
      if (schema === undefined) throw bad('.json_schema.schema is missing');
      return { kind: 'json_schema', source: JSON.stringify(schema) };
    }
    case 'regex':
      if (typeof format.regex !== 'string') throw bad(`.regex is ${typeof format.regex}; expected a string`);
      return { kind: 'regex', source: format.regex };
    case 'grammar':
      if (typeof format.grammar !== 'string') throw bad(`.grammar is ${typeof format.grammar}; expected a string`);
      return { kind: 'grammar', source: format.grammar };
    default:
      throw bad(`.type is "${(format as { type?: unknown } | null)?.type}"; expected text, json_object, json_schema, regex or grammar`);
  }
}
