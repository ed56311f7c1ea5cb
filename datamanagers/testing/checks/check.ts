/** What a check of the suite is made of. */
import type { Capabilities } from '../subject.ts';
import type { AnySubject, Trial } from '../trial.ts';

export interface Check {
  /** What it protects. */
  readonly name: string;
  /** Whether it is about data managers that can do this; default all. */
  readonly appliesTo?: (capabilities: Capabilities) => boolean;
  /** Why it can't be done with a subject. */
  readonly skip?: (subject: AnySubject) => string | undefined;
  /** Throws where the data manager breaks the rule. */
  readonly run: (trial: Trial) => Promise<void>;
}
