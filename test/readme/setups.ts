// What an example may ask for by setup=NAME, besides a file of statements: a server of its own, started by setups/NAME.ts.
//
// They are imported by name, so test/run.ts doesn't see that one of them asks for mariadb(), unless it is said here.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { program } from '../support/program.ts';

/** A server that runs while an example does. */
export interface Started {
  /** How the example finds it. */
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<unknown>;
}

/** Starts the server of a setup; undefined where the setup is none. */
export async function startSetup(name: string): Promise<Started | undefined> {
  const file = join(import.meta.dirname, 'setups', `${name}.ts`);
  if (!existsSync(file)) return undefined;
  const { start } = (await import(pathToFileURL(program(file)).href)) as { start: () => Promise<Started> };
  return start();
}
