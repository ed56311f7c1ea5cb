/** What `--help` prints. */
import type { Command } from './command.ts';
import { COMMANDS } from './commands.ts';
import { table } from './table.ts';

const OPTIONS = `Options:
  --config FILE        the configuration; else unanimous.config.ts, .js, .mjs or .json, here or in a folder above
  --store URL          the database of the decision store: postgres://… or mysql://…
  --resource NAME=URL  a resource by the name that its session has; may come several times
  --app NAME           the app of the coordinator, where it has one
  --table-prefix TEXT  what the names of the store's tables begin with; default unanimous_
  --json               one JSON object on the standard output, for scripts
  --help, --version`;

const CODES = `Exit codes:
  0  all is well
  1  something is in doubt, or left, or a message is dead
  2  the command line or the configuration is wrong; nothing was done
  3  a server can't be reached or asked
  4  refused: it would contradict a decision, or a process that may still decide; nothing was done
  5  a fault of this program`;

function usageOf({ name, takesGid, takesMessages, takesForce }: Command): string {
  const operand = takesGid ? ' GID' : takesMessages === true ? ' MESSAGE…' : '';
  return `${name}${operand}${takesForce ? ' [--force]' : ''}`;
}

export function generalHelp(): string {
  const rows = COMMANDS.map((command) => [`  ${usageOf(command)}`, command.summary]);
  const [, ...commands] = table(['', ''], rows);
  return `npx unanimous COMMAND [options]: what is prepared, what is in doubt, and how to end it.

Commands:
${commands.join('\n')}

${OPTIONS}

${CODES}

npx unanimous COMMAND --help says more about a command.
`;
}

export function helpOf(command: Command): string {
  return `npx unanimous ${usageOf(command)} [options]: ${command.summary}.

${command.help}

${OPTIONS}

${CODES}
`;
}
