/** An error as it crosses from the worker to the page. */
export interface WireError {
  code: string;
  message: string;
}

/**
 * Every failure of this package. `code` names the kind of failure ("MissingTensor", "PromptTooLong", "DeviceLost",
 * "HttpStatus", ...) and stays stable; `message` names the file, tensor, field or limit, what was expected and found.
 *
 * `name` is "AbortError" when the failure is an abort the caller asked for (code "Aborted"), as web APIs have it.
 */
export class MobileMoEError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = code === 'Aborted' ? 'AbortError' : 'MobileMoEError';
    this.code = code;
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
