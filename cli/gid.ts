/** The ids of transactions, as people give them. */
import { usageError } from './exit.ts';

/** The parts of `<app>:<store>:<incarnation>:<sequence>`. */
export interface GidParts {
  readonly gid: string;
  readonly app: string;
  readonly store: string;
  readonly incarnation: string;
}

const GID = /^([\w.-]{1,12}):([\w.-]{1,12}):([\w.-]+):([0-9a-z]+)$/;
/** What PostgreSQL calls a branch: the id, and the name of the resource. */
const BRANCH = /^((?:[\w.-]+:){3}[0-9a-z]+):[\w.-]+$/;

/** @throws CommandError unless it is an id, or the name of a branch in `pg_prepared_xacts`, which has the id in it. */
export function parseGid(text: string): GidParts {
  const gid = BRANCH.exec(text)?.[1] ?? text;
  const [, app, store, incarnation] = GID.exec(gid) ?? [];
  if (app === undefined || store === undefined || incarnation === undefined) {
    throw usageError(
      `a transaction's id has the form app:store:incarnation:sequence; ${JSON.stringify(text)} has not`,
      ['npx unanimous list shows them'],
    );
  }
  return { gid, app, store, incarnation };
}
