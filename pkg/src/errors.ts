/** An error as it crosses from the worker to the page. */
export interface WireError {
  code: string;
  message: string;
}

/** What the caller can mend by asking otherwise: OpenAI's servers answer 400 to such. */
const REQUEST_CODES = new Set([
  'BadOptions', 'Option', 'Unsupported', 'BadConstraint', 'BadMessages', 'EmptyPrompt', 'EmptyStopString', 'PromptTooLong', 'TokenOutOfRange',
  'TokenIdOutOfRange', 'UnfinishedAnswer', 'StreamConsumed',
]);

export interface MobileMoEErrorOptions extends ErrorOptions {
  /** The option that is wrong, in the caller's words. */
  param?: string | undefined;
}

/**
 * Every failure of this package. `code` names the kind of failure ("MissingTensor", "PromptTooLong", "DeviceLost",
 * "HttpStatus", ...) and stays stable; `message` names the file, tensor, field or limit, what was expected and found.
 *
 * `name` is "AbortError" when the failure is an abort the caller asked for (code "Aborted"), as web APIs have it. `status`,
 * `type` and `param` are what the OpenAI client's errors have.
 */
export class MobileMoEError extends Error {
  readonly code: string;
  /** 400 if the request is at fault, 500 if something else is; `undefined` of an abort, as nobody failed. */
  readonly status: number | undefined;
  readonly type: 'invalid_request_error' | 'server_error' | undefined;
  /** The option that is wrong, as the caller spells it: "max_tokens", "messages[1].content"; `null` if it is none. */
  readonly param: string | null;

  constructor(code: string, message: string, options: MobileMoEErrorOptions = {}) {
    super(message, options);
    this.name = code === 'Aborted' ? 'AbortError' : 'MobileMoEError';
    this.code = code;
    this.param = options.param ?? null;
    if (code !== 'Aborted') {
      const asked = REQUEST_CODES.has(code);
      this.status = asked ? 400 : 500;
      this.type = asked ? 'invalid_request_error' : 'server_error';
    }
  }

  /** Anything thrown, as a `MobileMoEError`; `code` is used where the thrown value brings none. */
  static from(thrown: unknown, code = 'Internal'): MobileMoEError {
    if (thrown instanceof MobileMoEError) return thrown;
    if (thrown instanceof Error) {
      const own = (thrown as { code?: unknown }).code;
      return new MobileMoEError(typeof own === 'string' ? own : code, thrown.message, { cause: thrown });
    }
    return new MobileMoEError(code, String(thrown));
  }

  /** @internal */
  toWire(): WireError {
    return { code: this.code, message: this.message };
  }
}

/**
 * What a call that `signal` aborted rejects with: the caller's own reason, as with `fetch` (of `AbortSignal.timeout`, a
 * `TimeoutError`); without one, a `MobileMoEError` with code "Aborted".
 */
export function abortReason(signal: AbortSignal): unknown {
  const { reason } = signal;
  return isPlainAbort(reason) ? new MobileMoEError('Aborted', 'The call was aborted.', { cause: reason }) : reason;
}

/** The caller gave no reason. */
export function isPlainAbort(reason: unknown): boolean {
  return (reason as { name?: unknown } | null | undefined)?.name === 'AbortError';
}
