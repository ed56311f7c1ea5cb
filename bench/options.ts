// What can be chosen for all that is measured.
import type { Progress } from './progress.ts';

export type Choice = {
  /** A short look: fewer rounds and a shorter warm-up. */
  readonly quick: boolean;
  /** How many rounds, where it isn't the usual number. */
  readonly rounds: number | undefined;
  /** How many clients, where it isn't the usual numbers. */
  readonly clients: readonly number[] | undefined;
  /** Only contenders whose title contains one of these, beside the baseline; all where it is empty. */
  readonly contenders: readonly string[];
  /** Whether there is another build to compare with. */
  readonly compares: boolean;
  /** Whether round trips and fsyncs are counted. */
  readonly counts: boolean;
  /** What a round trip to a server takes longer than it does, in milliseconds. */
  readonly delayMs: number;
  /** How long it is worked under load. */
  readonly minutes: number;
};

export type MeasureOptions = Choice & {
  /** Where it was built. */
  readonly folder: string;
  /** Another build of the same, to compare with. */
  readonly compare: string | undefined;
  readonly progress: Progress;
};

/** How many rounds, or how much of anything. */
export function roundsOf({ quick, rounds }: Pick<Choice, 'quick' | 'rounds'>, usual = 15): number {
  return rounds ?? (quick ? Math.min(5, usual) : usual);
}
