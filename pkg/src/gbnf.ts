/**
 * llama.cpp's GBNF -> llguidance's Lark. Every character becomes a terminal of its own: llguidance's lexer takes the longest
 * terminal it can, and GBNF knows no terminals. The start is `root`, or, where there is none, `main`, as older grammars have it.
 */
import { bad } from './check.js';
import type { MobileMoEError } from './errors.js';

/** No Lark grammar has `::=` outside of strings, every GBNF grammar has it. */
export function isGbnf(grammar: string): boolean {
  return /^\s*[\w-]+\s*::=/m.test(grammar);
}

/** @throws MobileMoEError - that names the line, if it is no GBNF. `param`: what the caller calls the grammar. */
export function larkOfGbnf(grammar: string, param: string): string {
  return new Translation(grammar, param).lark();
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '\\': '\\', '"': '"', '[': '[', ']': ']', '-': '-', '^': '^' };
const HEX_DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

class Translation {
  readonly #source: string;
  readonly #param: string;
  readonly #start: string;
  readonly #numbers = new Map<string, number>();
  readonly #defined = new Set<string>();
  /** Where in the source each rule is first used. */
  readonly #used = new Map<string, number>();
  #at = 0;

  constructor(source: string, param: string) {
    this.#source = source;
    this.#param = param;
    this.#start = /^\s*root\s*::=/m.test(source) || !/^\s*main\s*::=/m.test(source) ? 'root' : 'main';
  }

  lark(): string {
    const rules: string[] = [];
    for (this.#skip(true); this.#at < this.#source.length; this.#skip(true)) {
      const name = this.#name();
      if (name === undefined) throw this.#wrong('expected the name of a rule');
      if (this.#defined.has(name)) throw this.#wrong(`the rule ${name} is there already`);
      this.#defined.add(name);
      this.#skip(true);
      if (!this.#take('::=')) throw this.#wrong('expected ::=');
      this.#skip(true);
      rules.push(`${this.#rule(name)}: ${this.#alternatives(false)}`);
      if (this.#at < this.#source.length && this.#source[this.#at] !== '\n') throw this.#wrong(`"${this.#source[this.#at]}" is not expected here`);
    }
    if (!this.#defined.has(this.#start)) throw this.#wrong('there is no rule root');
    for (const [name, at] of this.#used) {
      if (!this.#defined.has(name)) throw this.#wrong(`there is no rule ${name}`, at);
    }
    return `${rules.join('\n')}\n`;
  }

  #alternatives(inGroup: boolean): string {
    const all = [this.#sequence(inGroup)];
    while (this.#continues()) {
      this.#skip(true);
      all.push(this.#sequence(inGroup));
    }
    return all.join(' | ');
  }

  /** Another alternative follows, maybe on a line of its own. */
  #continues(): boolean {
    const at = this.#at;
    this.#skip(true);
    if (this.#take('|')) return true;
    this.#at = at;
    return false;
  }

  #sequence(inGroup: boolean): string {
    const items: string[] = [];
    for (;;) {
      this.#skip(inGroup);
      const item = this.#item();
      if (item === undefined) return items.length ? items.join(' ') : '""';
      items.push(item + this.#repetitions());
    }
  }

  #item(): string | undefined {
    const name = this.#name();
    if (name !== undefined) {
      if (!this.#used.has(name)) this.#used.set(name, this.#at - name.length);
      return this.#rule(name);
    }
    switch (this.#source[this.#at]) {
      case '"':
        return this.#literal();
      case '[':
        return this.#class();
      case '.':
        this.#at += 1;
        return '/(?s:.)/';
      case '(': {
        this.#at += 1;
        const inside = this.#alternatives(true);
        if (!this.#take(')')) throw this.#wrong('expected )');
        return `(${inside})`;
      }
      default:
        return undefined;
    }
  }

  #repetitions(): string {
    const [found = '', least, comma, most] = /^(?:[*+?]|\{\s*(\d+)\s*(,)?\s*(\d+)?\s*\})/.exec(this.#source.slice(this.#at)) ?? [];
    if (!found && this.#source[this.#at] === '{') throw this.#wrong('expected {n}, {n,} or {n,m}');
    this.#at += found.length;
    if (least === undefined) return found;
    return `{${least}${comma ? `,${most ?? ''}` : ''}}`;
  }

  #literal(): string {
    this.#at += 1;
    const characters: string[] = [];
    while (!this.#take('"')) characters.push(JSON.stringify(this.#character()));
    if (characters.length === 0) return '""';
    return characters.length === 1 ? characters[0]! : `(${characters.join(' ')})`;
  }

  /** A class of characters, as a regex. */
  #class(): string {
    this.#at += 1;
    const start = this.#at;
    let inside = this.#take('^') ? '^' : '';
    while (!this.#take(']')) {
      const first = this.#character();
      const isRange = this.#source[this.#at] === '-' && this.#source[this.#at + 1] !== ']';
      if (!isRange) {
        inside += inRegex(first);
        continue;
      }
      this.#at += 1;
      const last = this.#character();
      if (first.codePointAt(0)! > last.codePointAt(0)!) throw this.#wrong(`${first}-${last} is no range`);
      inside += `${inRegex(first)}-${inRegex(last)}`;
    }
    if (inside === '') throw this.#wrong('a class without characters', start);
    return inside === '^' ? '/(?s:.)/' : `/[${inside}]/`;
  }

  #character(): string {
    const code = this.#source.codePointAt(this.#at);
    if (code === undefined) throw this.#wrong('the grammar ends within a string or a class');
    const character = String.fromCodePoint(code);
    this.#at += character.length;
    if (character !== '\\') return character;
    const escaped = this.#source[this.#at++] ?? '';
    if (Object.hasOwn(ESCAPES, escaped)) return ESCAPES[escaped]!;
    const digits = Object.hasOwn(HEX_DIGITS, escaped) ? HEX_DIGITS[escaped]! : 0;
    const hex = this.#source.slice(this.#at, this.#at + digits);
    const point = Number.parseInt(hex, 16);
    if (digits === 0 || !/^[\da-f]+$/i.test(hex) || hex.length < digits || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) {
      throw this.#wrong(`\\${escaped}${hex} stands for no character`);
    }
    this.#at += digits;
    return String.fromCodePoint(point);
  }

  #name(): string | undefined {
    const name = /^[A-Za-z0-9_-]+/.exec(this.#source.slice(this.#at, this.#at + 200))?.[0];
    this.#at += name?.length ?? 0;
    return name;
  }

  /** What a rule is called in Lark. */
  #rule(name: string): string {
    if (name === this.#start) return 'start';
    if (!this.#numbers.has(name)) this.#numbers.set(name, this.#numbers.size);
    return `r${this.#numbers.get(name)}_${name.toLowerCase().replaceAll('-', '_')}`;
  }

  #take(text: string): boolean {
    if (!this.#source.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  /** Passes over spaces and comments, and over line ends where they end no rule. */
  #skip(lines: boolean): void {
    const blank = lines ? /(?:\s|#[^\n]*)*/y : /(?:[^\S\n]|#[^\n]*)*/y;
    blank.lastIndex = this.#at;
    this.#at += blank.exec(this.#source)![0].length;
  }

  #wrong(what: string, at = this.#at): MobileMoEError {
    const line = this.#source.slice(0, at).split('\n').length;
    return bad(this.#param, `${this.#param}, line ${line}: ${what}`, 'BadConstraint');
  }
}

/** A character within a class of a regex. */
function inRegex(character: string): string {
  return /[\w]/.test(character) ? character : `\\x{${character.codePointAt(0)!.toString(16)}}`;
}
