/** What a client says of its own transaction, in MySQL and MariaDB. */
import { type Control, controlOf } from '../sql/control.ts';
import { lexicon } from './statement.ts';

const standard = controlOf(lexicon);

/** As it is anyhow: libraries say so to be sure. */
const AUTOCOMMIT_ON =
  /^set\s+(?:(?:session|local)\s+|@@(?:(?:session|local)\.)?)?autocommit\s*:?=\s*(?:1|on|true|default)\s*;?\s*$/i;

/** Recognises a statement that begins or ends a client's own transaction; undefined for any other text. */
export function controlIn(text: string): Control | undefined {
  if (AUTOCOMMIT_ON.test(text.slice(lexicon.skipBlank(text, 0))))
    return { kind: 'set transaction', tag: 'SET', modes: {} };
  return standard(text);
}
