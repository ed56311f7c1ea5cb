/** What recovery warns of: asked of the resources once a minute, and how long their branches have been seen to be prepared. */
import { environment } from './environment.ts';
import { RecoveryWarning } from './errors.ts';
import type { RecoverableResource } from './types.ts';
import type { Xid } from './xid.ts';

/** How often resources are asked, in milliseconds. */
const ASK_EVERY_MS = 60_000;
/** How often the same is reported, in milliseconds. */
const REPORT_EVERY_MS = 3_600_000;

/** Whoever can be asked. */
export type Warner = Pick<RecoverableResource, 'name' | 'warnings'>;

/** How warnings are found and told. */
export interface RecoveryWarningsOptions {
  /** For how long a branch may be prepared before that is warned of, in milliseconds. */
  readonly oldMs: number;
  readonly report: (error: Error) => void;
}

export class RecoveryWarnings {
  readonly #options: RecoveryWarningsOptions;
  /** Since when each branch has been listed, by resource and transaction. */
  readonly #seen = new Map<string, Map<string, number>>();
  /** When each warning was reported last, by resource and kind. */
  readonly #reported = new Map<string, number>();
  #askedMs = -Infinity;

  constructor(options: RecoveryWarningsOptions) {
    this.#options = options;
  }

  /** Remembers what a resource has listed now. What is listed no more is forgotten. */
  saw(name: string, listed: readonly Xid[]): void {
    const before = this.#seen.get(name);
    const now = environment.now();
    this.#seen.set(name, new Map(listed.map(({ gid }) => [gid, before?.get(gid) ?? now])));
  }

  /** What there is to warn of; undefined where that was asked less than a minute ago. Never rejects. */
  async due(warners: () => readonly Warner[], prefix: string): Promise<readonly RecoveryWarning[] | undefined> {
    const now = environment.now();
    if (now < this.#askedMs + ASK_EVERY_MS) return undefined;
    this.#askedMs = now;
    const warnings = this.#oldBranches(now);
    const ask = async (warner: Warner): Promise<void> => {
      for (const { kind, message } of (await warner.warnings?.(prefix)) ?? []) {
        warnings.push(new RecoveryWarning(message, { kind, resource: warner.name }));
      }
    };
    // Who can't be asked is another matter, and told by others.
    await Promise.allSettled(warners().map(ask));
    for (const warning of warnings) this.#reportOnce(warning, now);
    return warnings;
  }

  #reportOnce(warning: RecoveryWarning, now: number): void {
    const key = `${warning.kind}:${warning.resource}`;
    if (now < (this.#reported.get(key) ?? -Infinity) + REPORT_EVERY_MS) return;
    this.#reported.set(key, now);
    this.#options.report(warning);
  }

  /** As servers don't tell, or not all, for how long something is prepared, it is what was seen. */
  #oldBranches(now: number): RecoveryWarning[] {
    return [...this.#seen].flatMap(([name, branches]) => {
      const old = [...branches].filter(([, sinceMs]) => now - sinceMs >= this.#options.oldMs);
      if (old.length === 0) return [];
      const [gid, sinceMs] = old.reduce((oldest, each) => (each[1] < oldest[1] ? each : oldest));
      const what = old.length === 1 ? 'a branch has' : `${old.length} branches have`;
      const message =
        `what is prepared must be ended soon, as it keeps its locks until then; at '${name}' ${what} been prepared ` +
        `for ${Math.floor((now - sinceMs) / 1000)} s or more, the oldest of transaction ${gid}: npx unanimous show ${gid} says why`;
      return [new RecoveryWarning(message, { kind: 'old-branch', resource: name })];
    });
  }
}
