/** What the exit codes mean, and the errors that lead to them. */

/** Nothing needs anybody. */
export const WELL = 0;
/** Something is in doubt, or left: somebody, or recovery, must end it. */
export const LEFT = 1;
/** The command line or the configuration is wrong; nothing was done. */
export const USAGE = 2;
/** A server can't be reached or asked; what is said of the others is right. */
export const UNREACHABLE = 3;
/** Refused, because it would contradict a decision, or a process that may still decide; nothing was done. */
export const REFUSED = 4;
/** A fault of this program. */
export const FAULT = 5;

/** An error that is told to the user as it is, and ends the program with a code. */
export class CommandError extends Error {
  /** What kind of error it is, in JSON. */
  readonly kind: 'usage' | 'unreachable' | 'refused';
  /** What to do about it, a line each. */
  readonly advice: readonly string[];

  constructor(kind: CommandError['kind'], message: string, advice: readonly string[] = [], cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
    this.advice = advice;
  }

  get exitCode(): number {
    return { usage: USAGE, unreachable: UNREACHABLE, refused: REFUSED }[this.kind];
  }
}

/** The command line or the configuration is wrong. */
export function usageError(message: string, advice: readonly string[] = []): CommandError {
  return new CommandError('usage', message, advice);
}
