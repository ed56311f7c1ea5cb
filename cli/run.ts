/** Runs the command line: reads it, opens what it is about, calls the command, and tells errors. */
import { createRequire } from 'node:module';
import { hostname, userInfo } from 'node:os';
import { parseArgs } from 'node:util';
import type { Command } from './command.ts';
import { COMMANDS } from './commands.ts';
import { type Deployment, type Given, openDeployment } from './configuration.ts';
import { CommandError, FAULT, WELL, usageError } from './exit.ts';
import { type GidParts, parseGid, parseMessageId } from './gid.ts';
import { generalHelp, helpOf } from './help.ts';
import { printable } from './printable.ts';
import { Secrets, hideCredentials } from './secrets.ts';
import { openStore } from './survey.ts';
import { names } from './table.ts';

/** Where the command line is. */
export interface Surroundings {
  /** The current folder. */
  readonly folder: string;
  /** The standard output and that for errors. */
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

const OPTIONS = {
  config: { type: 'string' },
  store: { type: 'string' },
  resource: { type: 'string', multiple: true },
  app: { type: 'string' },
  'table-prefix': { type: 'string' },
  json: { type: 'boolean' },
  force: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const;

interface CommandLine {
  readonly command: Command | undefined;
  readonly operands: readonly string[];
  readonly given: Given;
  readonly force: boolean;
  readonly wants: 'help' | 'version' | undefined;
}

/** Resolves with the exit code; never rejects. */
export async function run(args: readonly string[], { folder, out, err }: Surroundings): Promise<number> {
  const secrets = new Secrets();
  const isJson = args.includes('--json');
  // What is shown comes from servers, mail servers and other applications: none of it reaches the terminal as a control character.
  const print = (text: string): void => out(hideCredentials(lines(text)));
  try {
    const line = parse(args);
    if (line.wants === 'version') print(`${version()}\n`);
    else if (line.wants === 'help') print(line.command === undefined ? generalHelp() : helpOf(line.command));
    if (line.wants !== undefined) return WELL;
    const say = (text = ''): void => (isJson ? undefined : print(`${printable(text)}\n`));
    const { exitCode, json } = await runCommand(line, folder, secrets, say);
    if (isJson) print(`${JSON.stringify(json, undefined, 2)}\n`);
    return exitCode;
  } catch (error) {
    const known = error instanceof CommandError ? error : fromPackage(error, secrets);
    if (known === undefined) {
      err(
        `unanimous: a fault of this program: ${hideCredentials(lines(String((error as Error | undefined)?.stack ?? error)))}\n`,
      );
      if (isJson)
        print(`${JSON.stringify({ error: { kind: 'fault', message: secrets.reason(error) } }, undefined, 2)}\n`);
      return FAULT;
    }
    const { advice, exitCode, kind, message } = known;
    err(hideCredentials([`unanimous: ${message}`, ...advice].map(printable).join('\n    ') + '\n'));
    if (isJson) print(`${JSON.stringify({ error: { kind, message, advice } }, undefined, 2)}\n`);
    return exitCode;
  }
}

/** Several lines, each of which can be printed. */
function lines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** What the package itself refuses, such as the name of a session, is wrong in the configuration. */
function fromPackage(error: unknown, secrets: Secrets): CommandError | undefined {
  const isWrong = (error as { code?: unknown } | undefined)?.code === 'ERR_TXN_CONFIGURATION';
  return isWrong ? usageError(secrets.reason(error)) : undefined;
}

async function runCommand(
  { command, operands, given, force }: CommandLine,
  folder: string,
  secrets: Secrets,
  say: (line?: string) => void,
): Promise<{ exitCode: number; json: object }> {
  const messages = command!.takesMessages === true ? operands.map(parseMessageId) : [];
  const about: readonly GidParts[] = command!.takesGid ? [parseGid(operands[0]!)] : messages;
  const deployment = await openDeployment(given, folder, secrets);
  try {
    if (about.length > 0) await checkStore(about, deployment, secrets);
    const gid = command!.takesGid ? about[0]!.gid : '';
    return await command!.run({ deployment, secrets, gid, messages, force, by: whoami(), say });
  } finally {
    // What can't be closed any more, such as a connection that is gone, is closed.
    await deployment.close().catch(() => undefined);
  }
}

/** @throws CommandError where one is of another application or store. */
async function checkStore(about: readonly GidParts[], deployment: Deployment, secrets: Secrets): Promise<void> {
  const store = await openStore(deployment, secrets);
  const other = about.find((parts) => parts.store !== store || parts.app !== deployment.app);
  if (other === undefined) return;
  throw usageError(
    `${other.gid} is of the app ${other.app} and the store ${other.store}; this is about the app ${deployment.app} and the store ${store}`,
    ['--app NAME, --store URL or --config FILE say otherwise'],
  );
}

/** @throws CommandError where it is wrong. */
function parse(args: readonly string[]): CommandLine {
  const { values, positionals } = parseOptions(args);
  const { name, command, operands } = findCommand(positionals);
  const wants = values.version === true ? 'version' : values.help === true ? 'help' : undefined;
  if (name !== undefined && command === undefined) {
    throw usageError(`there is no command ${name}; there are ${names(COMMANDS.map((each) => each.name))}`);
  }
  if (wants === undefined) checkOperands(command, operands, values.force === true);
  const { config, store, resource: resources = [], app, 'table-prefix': tablePrefix } = values;
  const given = { config, store, resources, app, tablePrefix };
  return { command, operands, given, force: values.force === true, wants };
}

/** The command that the first word names, or the first two. */
function findCommand(positionals: readonly string[]): {
  name: string | undefined;
  command: Command | undefined;
  operands: readonly string[];
} {
  for (const length of [2, 1]) {
    const name = positionals.slice(0, length).join(' ');
    const command = COMMANDS.find((each) => each.name === name);
    if (command !== undefined) return { name, command, operands: positionals.slice(length) };
  }
  const isGroup = COMMANDS.some((each) => each.name.startsWith(`${positionals[0]} `));
  const name = positionals.slice(0, isGroup ? 2 : 1).join(' ');
  return { name: name === '' ? undefined : name, command: undefined, operands: [] };
}

function parseOptions(
  args: readonly string[],
): ReturnType<typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>> {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw usageError((error as Error).message.split('. ')[0]!, ['npx unanimous --help shows all options']);
  }
}

function checkOperands(
  command: Command | undefined,
  operands: readonly string[],
  force: boolean,
): asserts command is Command {
  if (command === undefined) throw usageError('a command is needed', ['npx unanimous --help shows them']);
  const { name, takesGid, takesMessages, takesForce } = command;
  if (takesGid && operands.length === 0) {
    throw usageError(`${name} needs the id of a transaction`, ['npx unanimous list shows them']);
  }
  if (takesMessages === true && operands.length === 0) {
    throw usageError(`${name} needs the ids of messages`, ['npx unanimous outbox list shows them']);
  }
  const surplus = takesMessages === true ? [] : takesGid ? operands.slice(1) : operands;
  if (surplus.length > 0)
    throw usageError(`${name} takes ${takesGid ? 'one id' : 'no id'}, not also ${names(surplus)}`);
  if (force && !takesForce) throw usageError(`${name} takes no --force: it does nothing that needs it`);
}

function whoami(): string {
  let user: string;
  try {
    user = userInfo().username;
  } catch {
    // A user without an entry, as in some containers.
    user = String(process.getuid?.() ?? 'unknown');
  }
  return `${user}@${hostname()}`;
}

function version(): string {
  return (createRequire(import.meta.url)('unanimous/package.json') as { version: string }).version;
}
