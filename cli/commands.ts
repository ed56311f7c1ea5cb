/** The commands, in the order in which they are shown. */
import type { Command } from './command.ts';
import { abort, commit } from './commands/decide.ts';
import { forget } from './commands/forget.ts';
import { init } from './commands/init.ts';
import { list } from './commands/list.ts';
import { drop, listMessages, retry } from './commands/outbox.ts';
import { recover } from './commands/recover.ts';
import { show } from './commands/show.ts';
import { status } from './commands/status.ts';

export const COMMANDS: readonly Command[] = [
  init,
  status,
  list,
  show,
  recover,
  commit,
  abort,
  forget,
  listMessages,
  retry,
  drop,
];
