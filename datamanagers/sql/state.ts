/** What a statement does to the database, as far as its first word or its command tag tells. */

/**
 * - `none`: nothing that a rollback would lose.
 * - `maybe`: nothing that the tag shows, but what it calls may write, which only the server knows; or a setting, which a rollback would undo.
 * - `write`: something that must be committed.
 */
export type Effect = 'none' | 'maybe' | 'write';

const EFFECTS: ReadonlyMap<string, Effect> = new Map<string, Effect>([
  ...[
    'begin',
    'start',
    'savepoint',
    'release',
    'rollback',
    'show',
    'lock',
    'close',
    'deallocate',
    'checkpoint',
    'load',
  ].map((word): [string, Effect] => [word, 'none']),
  ...['set', 'reset', 'select', 'table', 'values', 'explain', 'fetch', 'move', 'declare', 'prepare'].map(
    (word): [string, Effect] => [word, 'maybe'],
  ),
]);

/** The effect of a statement, from its leading keyword or its command tag (`SELECT`, `CREATE TABLE`). */
export function effectOf(wordOrTag: string): Effect {
  const space = wordOrTag.indexOf(' ');
  return EFFECTS.get((space < 0 ? wordOrTag : wordOrTag.slice(0, space)).toLowerCase()) ?? 'write';
}
