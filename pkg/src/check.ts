/** Checks of what callers give: each refuses by the option's own name, with what was found and what is expected. */
import { MobileMoEError } from './errors.js';

/** `fail` says that the value is of the wrong kind. */
export type Check = (value: unknown, name: string) => void;

export function bad(param: string, message: string, code = 'BadOptions'): MobileMoEError {
  return new MobileMoEError(code, message, { param: param || undefined });
}

export function unsupported(param: string, what: string, why: string): MobileMoEError {
  return new MobileMoEError('Unsupported', `${what} is not supported: ${why}`, { param });
}

/** A value as an error's message shows it. */
export function spelled(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
    case 'object':
      return value === null ? 'null' : Array.isArray(value) ? 'an array' : 'an object';
    case 'function':
    case 'symbol':
      return `a ${typeof value}`;
    default:
      return `${value}`;
  }
}

function expected(name: string, value: unknown, what: string, code?: string): MobileMoEError {
  return bad(name, `${name} is ${spelled(value)}; expected ${what}`, code);
}

export const isFlag: Check = (value, name) => {
  if (typeof value !== 'boolean') throw expected(name, value, 'true or false');
};

export const isText: Check = (value, name) => {
  if (typeof value !== 'string') throw expected(name, value, 'a string');
};

export const isFunction: Check = (value, name) => {
  if (typeof value !== 'function') throw expected(name, value, 'a function');
};

/** An `AbortSignal`, of this page or of another. */
export const isSignal: Check = (value, name) => {
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>;
  if (typeof aborted !== 'boolean' || typeof addEventListener !== 'function') throw expected(name, value, 'an AbortSignal');
};

export const isObject: Check = (value, name) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw expected(name, value, 'an object');
};

export const anything: Check = () => {};

export function isOneOf(...values: string[]): Check {
  return (value, name) => {
    if (!values.includes(value as string)) throw expected(name, value, values.map((value) => `"${value}"`).join(' or '));
  };
}

/** A whole number from `least` to `most`. */
export function isInteger(least: number, most = 0xffff_ffff, what = `an integer from ${least} to ${most}`): Check {
  return (value, name) => {
    if (!Number.isInteger(value) || (value as number) < least) throw expected(name, value, what);
    if ((value as number) > most) throw expected(name, value, what, 'Option');
  };
}

/** A number; `holds` says whether it is in range. */
export function isNumber(holds: (value: number) => boolean, range: string): Check {
  return (value, name) => {
    if (typeof value !== 'number') throw expected(name, value, `a number ${range}`);
    if (!holds(value)) throw expected(name, value, `a number ${range}`, 'Option');
  };
}

export function isArrayOf(check: Check, what: string): Check {
  return (value, name) => {
    if (!Array.isArray(value)) throw expected(name, value, what);
    value.forEach((item, i) => check(item, `${name}[${i}]`));
  };
}

/**
 * The options that are there, each checked; `null` is as good as not given. A name that is not among `checks` is refused.
 * `called` gives the caller's name of an option, `where` is put before it.
 */
export function checkOptions<T extends object>(
  given: T | null | undefined,
  checks: Readonly<Record<string, Check>>,
  called: (name: string) => string = (name) => name,
  where = '',
): Partial<T> {
  if (given == null) return {};
  isObject(given, where.replace(/\.$/, '') || 'options');
  const present = reading(() => Object.entries(given).filter(([, value]) => value != null));
  for (const [name, value] of present) {
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (!check) throw bad(where + called(name), `options: there is no "${where}${called(name)}"`);
    check(value, where + called(name));
  }
  return Object.fromEntries(present) as Partial<T>;
}

/** What reading the arguments throws beside what is refused (a getter's own error, say) names them, too. */
export function reading<T>(work: () => T): T {
  try {
    return work();
  } catch (thrown) {
    if (thrown instanceof MobileMoEError) throw thrown;
    throw new MobileMoEError('BadOptions', `The arguments cannot be read: ${describe(thrown)}`, { cause: thrown });
  }
}

function describe(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : spelled(thrown);
}
