// What the libraries are compared with: `pg` by hand, and a session over it.
import { makers as overPg } from '../postgres/contenders.ts';
import { poolOf } from './connect.ts';
import type { Make } from './make.ts';

export const makers = {
  handWritten: (url) => overPg.handWritten(poolOf(url)),
  byRun: (url) => overPg.byRun(poolOf(url)),
} as const satisfies Record<string, Make>;
