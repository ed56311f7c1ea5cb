// What clients write down of each attempt before its first statement and after its end: line by line and at once, so that what a process
// has done is known though it is killed.
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Attempt, Ending, History, Step } from './history.ts';
import { now } from './setting.ts';

/** An attempt is going to begin. */
export interface Invoked {
  readonly at: 'invoked';
  readonly id: string;
  readonly time: number;
  readonly steps: readonly Step[];
}

/** It has ended, as the client was told; its steps are told with what was read. */
export interface Told {
  readonly at: 'told';
  readonly id: string;
  readonly time: number;
  readonly ending: Ending;
  readonly steps: readonly Step[];
  readonly way?: string | undefined;
  readonly isPending?: boolean;
  /** Of the error that has ended it. */
  readonly code?: string | undefined;
  readonly message?: string | undefined;
  readonly isDeferrable?: boolean;
}

/** It is known later how it has ended. */
export interface Resolved {
  readonly at: 'resolved';
  readonly id: string;
  readonly outcome: 'committed' | 'aborted' | 'unknown';
}

/** Recovery has ended what others had left. */
export interface Recovered {
  readonly at: 'recovered';
  readonly fenced: number;
  readonly committed: number;
  readonly rolledBack: number;
}

/** Something was reported that nobody could be thrown. */
export interface Reported {
  readonly at: 'reported';
  readonly code: string;
  readonly message: string;
}

/** The process kills itself in the commit of this attempt. */
export interface Dies {
  readonly at: 'dies';
  readonly id: string;
}

export type Line = Invoked | Told | Resolved | Recovered | Reported | Dies;

export class Recorder {
  readonly #file: number;

  constructor(path: string) {
    this.#file = openSync(path, 'a');
  }

  write(line: Line): void {
    writeSync(this.#file, `${JSON.stringify(line)}\n`);
  }

  invoked(id: string, steps: readonly Step[]): void {
    this.write({ at: 'invoked', id, time: now(), steps });
  }

  told(id: string, ending: Ending, steps: readonly Step[], more: Partial<Told> = {}): void {
    this.write({ ...more, at: 'told', id, time: now(), ending, steps });
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** All lines of some files; of the last one of a process that was killed there may be a part only. */
export function linesOf(paths: readonly string[]): Line[] {
  return paths.flatMap((path) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line),
  );
}

/** What was invoked, with how it ended where somebody was told. */
export function attemptsOf(lines: readonly Line[]): Attempt[] {
  const attempts = new Map<string, Attempt>();
  for (const line of lines) {
    if (line.at === 'invoked')
      attempts.set(line.id, { id: line.id, steps: line.steps, ending: 'unknown', invokedAt: line.time });
    else if (line.at === 'told') {
      const { ending, steps, time: toldAt, isPending = false } = line;
      attempts.set(line.id, { ...attempts.get(line.id)!, ending, steps, isPending, toldAt });
    } else if (line.at === 'resolved' && line.outcome !== 'unknown')
      attempts.set(line.id, { ...attempts.get(line.id)!, ending: line.outcome, isPending: true });
  }
  return [...attempts.values()];
}

export function historyOf(lines: readonly Line[], lists: History['lists']): History {
  return { attempts: attemptsOf(lines), lists };
}
