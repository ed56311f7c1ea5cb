// A file of results, which is written again and again: what was measured before something stops is there, and so is what was
// measured by an earlier run into the same file.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Machine } from './machine.ts';

/** What was measured of a part. */
export type Measured = {
  /** When it began. */
  readonly date: string;
  readonly machine: Machine;
  /** Whether all of it is there. */
  readonly complete: boolean;
  readonly result: unknown;
};

export type Results = Record<string, Measured>;

/** By the name of a part, and the delay that it was measured with. */
export function keyOf(part: string, delayMs: number): string {
  return delayMs > 0 ? `${part} ${delayMs} ms` : part;
}

/** The name of a part by what it is kept by. */
export function partOf(key: string): string {
  return key.split(' ')[0]!;
}

export function readResults(file: string): Results {
  return JSON.parse(readFileSync(file, 'utf8')) as Results;
}

export class ResultFile {
  readonly #file: string | undefined;
  readonly #results: Results;

  /** Without a file nothing is kept. */
  constructor(file: string | undefined) {
    this.#file = file;
    this.#results = file !== undefined && existsSync(file) ? readResults(file) : {};
  }

  /** Replaces what was measured of a part before. */
  write(key: string, measured: Measured): void {
    if (this.#file === undefined) return;
    this.#results[key] = measured;
    // Whole or not at all, whenever this process ends.
    const next = `${this.#file}.next`;
    writeFileSync(next, `${JSON.stringify(this.#results, undefined, 2)}\n`);
    renameSync(next, this.#file);
  }
}
