/** What the parts of a session share. */
import type { CommitSetup } from './commit.ts';

export interface RedisCore extends CommitSetup {
  /** How long a read may take, in milliseconds. */
  readonly readTimeoutMs: number;
  /** Whether writes count without being marked. */
  readonly detectWrites: boolean;
}
