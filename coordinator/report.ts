/** Where an error goes that has nobody to be thrown to. */

/** Told of errors that change no outcome: of after-hooks, of before-abort hooks, of clean-ups in the background. */
export type OnError = (error: Error) => void;

/** The default: a process warning, which Node prints and a listener can take. */
export const emitWarning: OnError = (error) => process.emitWarning(error);

/** A warning for the person who maintains the calling program. */
export function reportWarning(message: string, type: string): void {
  process.emitWarning(message, type);
}
