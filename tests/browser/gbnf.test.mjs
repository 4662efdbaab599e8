// llama.cpp's GBNF as llguidance's Lark: the same texts are allowed. Without a browser.

import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { isGbnf, larkOfGbnf } from '../../pkg/dist/gbnf.js';
import { Compiler, initSync } from '../../pkg/wasm/mobilemoe_constrain.js';

const END = 256;
initSync({ module: readFileSync(new URL('../../pkg/wasm/mobilemoe_constrain_bg.wasm', import.meta.url)) });
/** A vocabulary of bytes, and the end. */
const compiler = new Compiler(
  Uint8Array.from({ length: 256 }, (_, byte) => byte),
  Uint32Array.from({ length: 257 }, (_, id) => Math.min(id + 1, 256)),
  Uint8Array.from({ length: 257 }, (_, id) => Number(id === END)),
  Uint32Array.of(END),
  257,
);

/** Whether a grammar allows a text as a whole. */
function allows(grammar, text) {
  const constraint = compiler.compile('grammar', larkOfGbnf(grammar, 'grammar'));
  const may = (id) => {
    const mask = constraint.mask();
    return mask === undefined ? id === END : (mask[id >> 5] >>> (id & 31)) & 1;
  };
  for (const byte of new TextEncoder().encode(text)) {
    if (!may(byte) || constraint.mask() === undefined) return false;
    constraint.accept(byte);
  }
  return Boolean(may(END));
}

const CASES = [
  ['root ::= "yes" | "no"', ['yes', 'no'], ['y', 'yesno', '']],
  // llama.cpp's own examples: sums, and a list.
  ['root  ::= (expr "=" term "\\n")+\nexpr  ::= term ([-+*/] term)*\nterm  ::= num | "(" expr ")"\nnum   ::= [0-9]+', ['1+2=3\n', '(1+2)*3=9\n1=1\n'], ['1+=2\n', '1+2=3']],
  ['# a list\nroot ::= item+\n\n# Excludes various line break characters\nitem ::= "- " [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ "\\n"', ['- a b\n', '- ä]\n- c\n'], ['- \n', 'a\n', '- a\u2028\n']],
  // A terminal that begins as another one does.
  ['root ::= ("a" | "ab") "bc"', ['abc', 'abbc'], ['ab', 'abcc']],
  ['root ::= [a-z] "c" | "a" "b"', ['ab', 'ac', 'zc'], ['zb', 'a']],
  ['root ::= "a" rest-of-it\nrest-of-it ::= "b" rest-of-it |', ['a', 'abb'], ['ba', '']],
  ['root ::= "a"{2} [b]{1,2} "c"{2,} "d"?', ['aabcc', 'aabbcccd'], ['abcc', 'aabbbcc', 'aabc']],
  ['root ::= (\n  "x" | # one\n  Rule_2\n)\nRule_2 ::= .', ['x', '\n', '🦙'], ['', 'xx']],
  ['root ::= a\n  | "b"\na ::= "\\"\\\\\\U0001F999" [\\]\\-\\\\^]', ['"\\🦙]', '"\\🦙-', 'b'], ['"\\🦙x']],
  ['root ::= ""', [''], ['a']],
  ['main ::= "a" b\nb ::= "b"', ['ab'], ['b']],
];

test('a GBNF grammar allows what llama.cpp allows', () => {
  for (const [grammar, allowed, refused] of CASES) {
    assert.ok(isGbnf(grammar), grammar);
    for (const text of allowed) assert.ok(allows(grammar, text), `${grammar}\nallows ${JSON.stringify(text)}\n${larkOfGbnf(grammar, '')}`);
    for (const text of refused) assert.ok(!allows(grammar, text), `${grammar}\nrefuses ${JSON.stringify(text)}\n${larkOfGbnf(grammar, '')}`);
  }
  assert.ok(!isGbnf('start: "a::=" b\nb: /x/'), 'Lark');
});

test('what is no GBNF is refused with its line', () => {
  for (const [grammar, message] of [
    ['root ::= "a\n', /line 2.*ends within/], ['root ::= b', /line 1: there is no rule b/], ['a ::= "x"', /no rule root/], ['root ::= ("a"', /expected \)/],
    ['root ::= "a"\nroot ::= "b"', /line 2: .*already/], ['root ::= [z-a]', /z-a is no range/], ['root ::= "a" )', /"\)" is not expected/], ['root ::= "\\q"', /\\q stands for no character/],
    ['root ::= "a"{x}', /\{n\}/], ['root ::= []', /without characters/], ['root = "a"\nb ::= "c"', /expected ::=/], ['root ::= "\\ud800"', /stands for no character/],
  ]) {
    assert.throws(() => larkOfGbnf(grammar, 'response_format.grammar'), (error) => {
      assert.deepEqual([error.code, error.param], ['BadConstraint', 'response_format.grammar']);
      assert.match(error.message, message);
      return true;
    });
  }
});
