// Structured output by itself, without a model: whatever the masks allow is valid.

import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';

import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

import { Compiler, initSync } from '../../pkg/wasm/mobilemoe_constrain.js';
import { randomFrom, randomSchema } from './schemas.mjs';

const SCHEMAS = 200;
const MAX_TOKENS = 2000;

/** The Llama-3 tokenizer's tokens, as `WebEngine.vocabulary()` gives them. */
function llamaVocabulary() {
  const file = new URL('../fixtures/tokenizer-llama3/tokenizer.json.gz', import.meta.url);
  const { model, added_tokens: added } = JSON.parse(gunzipSync(readFileSync(file)));
  // GPT-2's byte alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 onwards.
  const printable = (byte) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad);
  const others = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !printable(byte));
  const byteOf = (code) => (code < 0x100 ? code : others[code - 0x100]);
  const tokens = [];
  const special = [];
  for (const [token, id] of Object.entries(model.vocab)) {
    tokens[id] = Buffer.from(Array.from(token, (character) => byteOf(character.codePointAt(0))));
    special[id] = 0;
  }
  for (const { id, content } of added) [tokens[id], special[id]] = [Buffer.from(content), 1];
  let end = 0;
  const ends = Uint32Array.from(tokens, ({ length }) => (end += length));
  const endIds = added.filter(({ content }) => content === '<|eot|>').map(({ id }) => id);
  return { tokens, bytes: Buffer.concat(tokens), ends, special: Uint8Array.from(special), endIds: Uint32Array.from(endIds) };
}

initSync({ module: readFileSync(new URL('../../pkg/wasm/mobilemoe_constrain_bg.wasm', import.meta.url)) });
const { tokens, bytes, ends, special, endIds } = llamaVocabulary();
const compiler = new Compiler(bytes, ends, special, endIds, tokens.length);
const CLOSING = tokens.flatMap((token, id) => (['"', '}', ']', '"}', '"]', '}}', ']}'].includes(token.toString()) ? [id] : []));

/** A text that the constraint allows: closes what is open where it may, more often than not, and takes any token else. */
function walk(constraint, random) {
  const text = [];
  for (let count = 0; count < MAX_TOKENS; count++) {
    const mask = constraint.mask();
    const allows = (id) => ((mask[id >>> 5] >>> (id & 31)) & 1) === 1;
    if (!mask || (allows(endIds[0]) && random.uniform() < 0.7)) return Buffer.concat(text).toString();
    const closing = CLOSING.filter(allows);
    let id = random.of(closing);
    if (closing.length === 0 || random.uniform() < 0.4) {
      // Any allowed token, the next one from a random place on.
      for (id = random.below(tokens.length); !allows(id) || id === endIds[0]; id = (id + 1) % tokens.length);
    }
    constraint.accept(id);
    text.push(tokens[id]);
  }
  throw new Error(`no end in sight: ${Buffer.concat(text)}`);
}

test(`answers under ${SCHEMAS} random JSON Schemas are valid`, () => {
  const ajv = new Ajv({ strict: true, strictTypes: false, strictTuples: false });
  addFormats(ajv);
  const random = randomFrom(20261124);
  const seen = new Set();
  for (let i = 0; i < SCHEMAS; i++) {
    const schema = randomSchema(random);
    seen.add(JSON.stringify(schema));
    const constraint = compiler.compile('json_schema', JSON.stringify(schema));
    const text = walk(constraint, random);
    constraint.free();
    const valid = ajv.compile(schema);
    assert.ok(valid(JSON.parse(text)), `${text}\nunder ${JSON.stringify(schema)}: ${ajv.errorsText(valid.errors)}`);
  }
  assert.ok(seen.size > SCHEMAS * 0.9, `${seen.size} different schemas`);
});

test('JSON objects parse, regexes match, grammars hold', () => {
  const random = randomFrom(7);
  for (let i = 0; i < 20; i++) {
    const object = JSON.parse(walk(compiler.compile('json_object', ''), random));
    assert.ok(typeof object === 'object' && object !== null && !Array.isArray(object));
    assert.match(walk(compiler.compile('regex', '(yes|no), [0-9]{1,3}%'), random), /^(yes|no), \d{1,3}%$/);
    assert.match(walk(compiler.compile('grammar', 'start: "a" start "b" | "-"'), random), /^(a*)-(b*)$/);
  }
});

test('what cannot be held to is refused by name', () => {
  const cases = [
    ['json_schema', '{"type": "array", "uniqueItems": true}', /uniqueItems/],
    ['json_schema', '{"type": ', /not JSON/],
    ['regex', '(a', /unclosed group/],
    ['grammar', 'start: nothing', /nothing/],
    ['xml', '', /"xml"/],
  ];
  for (const [kind, source, message] of cases) {
    assert.throws(() => compiler.compile(kind, source), { code: 'BadConstraint', message });
  }
  const constraint = compiler.compile('regex', 'ab');
  assert.throws(() => constraint.accept(endIds[0]), { code: 'ConstraintFailed' });
});
