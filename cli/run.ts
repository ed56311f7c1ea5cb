/** Runs the command line: reads it, opens what it is about, calls the command, and tells errors. */
import { createRequire } from 'node:module';
import { hostname, userInfo } from 'node:os';
import { parseArgs } from 'node:util';
import type { Command } from './command.ts';
import { COMMANDS } from './commands.ts';
import { type Given, openDeployment } from './configuration.ts';
import { CommandError, FAULT, WELL, usageError } from './exit.ts';
import { parseGid } from './gid.ts';
import { generalHelp, helpOf } from './help.ts';
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
  readonly gid: string | undefined;
  readonly given: Given;
  readonly force: boolean;
  readonly wants: 'help' | 'version' | undefined;
}

/** Resolves with the exit code; never rejects. */
export async function run(args: readonly string[], { folder, out, err }: Surroundings): Promise<number> {
  const secrets = new Secrets();
  const isJson = args.includes('--json');
  const print = (text: string): void => out(hideCredentials(text));
  try {
    const line = parse(args);
    if (line.wants === 'version') print(`${version()}\n`);
    else if (line.wants === 'help') print(line.command === undefined ? generalHelp() : helpOf(line.command));
    if (line.wants !== undefined) return WELL;
    const say = (text = ''): void => (isJson ? undefined : print(`${text}\n`));
    const { exitCode, json } = await runCommand(line, folder, secrets, say);
    if (isJson) print(`${JSON.stringify(json, undefined, 2)}\n`);
    return exitCode;
  } catch (error) {
    const known = error instanceof CommandError ? error : fromPackage(error, secrets);
    if (known === undefined) {
      err(
        `unanimous: a fault of this program: ${hideCredentials(String((error as Error | undefined)?.stack ?? error))}\n`,
      );
      if (isJson)
        print(`${JSON.stringify({ error: { kind: 'fault', message: secrets.reason(error) } }, undefined, 2)}\n`);
      return FAULT;
    }
    const { advice, exitCode, kind, message } = known;
    err(hideCredentials([`unanimous: ${message}`, ...advice].join('\n    ') + '\n'));
    if (isJson) print(`${JSON.stringify({ error: { kind, message, advice } }, undefined, 2)}\n`);
    return exitCode;
  }
}

/** What the package itself refuses, such as the name of a session, is wrong in the configuration. */
function fromPackage(error: unknown, secrets: Secrets): CommandError | undefined {
  const isWrong = (error as { code?: unknown } | undefined)?.code === 'ERR_TXN_CONFIGURATION';
  return isWrong ? usageError(secrets.reason(error)) : undefined;
}

async function runCommand(
  { command, gid, given, force }: CommandLine,
  folder: string,
  secrets: Secrets,
  say: (line?: string) => void,
): Promise<{ exitCode: number; json: object }> {
  const parts = gid === undefined ? undefined : parseGid(gid);
  const deployment = await openDeployment(given, folder, secrets);
  try {
    if (parts !== undefined) {
      const store = await openStore(deployment, secrets);
      if (parts.store !== store || parts.app !== deployment.app) {
        throw usageError(
          `${parts.gid} is of the app ${parts.app} and the store ${parts.store}; this is about the app ${deployment.app} and the store ${store}`,
          ['--app NAME, --store URL or --config FILE say otherwise'],
        );
      }
    }
    return await command!.run({ deployment, secrets, gid: parts?.gid ?? '', force, by: whoami(), say });
  } finally {
    // What can't be closed any more, such as a connection that is gone, is closed.
    await deployment.close().catch(() => undefined);
  }
}

/** @throws CommandError where it is wrong. */
function parse(args: readonly string[]): CommandLine {
  const { values, positionals } = parseOptions(args);
  const [name, gid, ...more] = positionals;
  const command = COMMANDS.find((each) => each.name === name);
  const wants = values.version === true ? 'version' : values.help === true ? 'help' : undefined;
  if (name !== undefined && command === undefined) {
    throw usageError(`there is no command ${name}; there are ${names(COMMANDS.map((each) => each.name))}`);
  }
  if (wants === undefined) checkOperands(command, gid, more, values.force === true);
  const { config, store, resource: resources = [], app, 'table-prefix': tablePrefix } = values;
  return { command, gid, given: { config, store, resources, app, tablePrefix }, force: values.force === true, wants };
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
  gid: string | undefined,
  more: readonly string[],
  force: boolean,
): asserts command is Command {
  if (command === undefined) throw usageError('a command is needed', ['npx unanimous --help shows them']);
  if (command.takesGid && gid === undefined) {
    throw usageError(`${command.name} needs the id of a transaction`, ['npx unanimous list shows them']);
  }
  const surplus = command.takesGid ? more : [gid, ...more].filter((each) => each !== undefined);
  if (surplus.length > 0)
    throw usageError(`${command.name} takes ${command.takesGid ? 'one id' : 'no id'}, not also ${names(surplus)}`);
  if (force && !command.takesForce) throw usageError(`${command.name} takes no --force: it does nothing that needs it`);
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
