import { bad, isFlag, isObject, isText, spelled, unsupported } from './check.js';
import { isGbnf, larkOfGbnf } from './gbnf.js';
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
  /** Any JSON object; with `schema` (an object or its JSON, as WebLLM and llama.cpp have it), as `json_schema`. */
  | { type: 'json_object'; schema?: JsonSchema | string | null }
  /** JSON that is valid under a schema (drafts 4 to 2020-12, references within it only). `strict` or not, it is held to. */
  | {
      type: 'json_schema';
      json_schema: {
        schema?: JsonSchema;
        /** Labels; they change nothing. */
        name?: string;
        description?: string;
        strict?: boolean | null;
      };
    }
  /** Ours: a whole match, in the syntax of Rust's `regex`, without look-around. */
  | { type: 'regex'; regex: string }
  /**
   * Ours, and WebLLM's: a context-free grammar. Either llguidance's variant of Lark, whose start symbol is `start`, or
   * llama.cpp's GBNF (known by its `::=`), whose start symbol is `root`.
   */
  | { type: 'grammar'; grammar: string };

export type JsonSchema = Readonly<Record<string, unknown>> | boolean;

/** A format as the worker takes it; `undefined` if it asks for nothing. `name`: what the caller calls it. */
export function wireFormat(format: ResponseFormat | null | undefined, name: string): WireFormat | undefined {
  if (format == null) return undefined;
  isObject(format, name);
  switch (format.type) {
    case 'text':
      only(format, name, []);
      return undefined;
    case 'json_object': {
      only(format, name, ['schema']);
      if (format.schema == null) return { kind: 'json_object', source: '' };
      return { kind: 'json_schema', source: schemaJson(format.schema, `${name}.schema`) };
    }
    case 'json_schema': {
      only(format, name, ['json_schema']);
      const where = `${name}.json_schema`;
      isObject(format.json_schema, where);
      only(format.json_schema, where, ['schema', 'name', 'description', 'strict']);
      const { schema, strict, ...labels } = format.json_schema;
      if (strict != null) isFlag(strict, `${where}.strict`);
      for (const label of ['name', 'description'] as const) if (labels[label] != null) isText(labels[label], `${where}.${label}`);
      if (schema == null) throw bad(`${where}.schema`, `${where}.schema is missing`);
      return { kind: 'json_schema', source: schemaJson(schema, `${where}.schema`) };
    }
    case 'regex':
      only(format, name, ['regex']);
      isText(format.regex, `${name}.regex`);
      return { kind: 'regex', source: format.regex };
    case 'grammar':
      only(format, name, ['grammar']);
      isText(format.grammar, `${name}.grammar`);
      return { kind: 'grammar', source: isGbnf(format.grammar) ? larkOfGbnf(format.grammar, `${name}.grammar`) : format.grammar };
    default:
      throw bad(`${name}.type`, `${name}.type is ${spelled((format as { type?: unknown }).type)}; expected text, json_object, json_schema, regex or grammar`);
  }
}

/** A field that says more than is held to is refused. */
function only(format: object, where: string, names: string[]): void {
  for (const [name, value] of Object.entries(format)) {
    if (value == null || name === 'type' || names.includes(name)) continue;
    throw unsupported(`${where}.${name}`, `${where}.${name}`, 'nothing is known of it here');
  }
}

function schemaJson(schema: unknown, where: string): string {
  if (typeof schema !== 'string') {
    if (typeof schema !== 'boolean') isObject(schema, where);
    try {
      return JSON.stringify(schema);
    } catch (error) {
      throw bad(where, `${where} is no JSON: ${(error as Error).message}`);
    }
  }
  try {
    const value: unknown = JSON.parse(schema);
    if (typeof value === 'boolean' || (typeof value === 'object' && value !== null && !Array.isArray(value))) return schema;
  } catch {
    // said below
  }
  throw bad(where, `${where} is ${spelled(schema)}; expected a JSON Schema`);
}
