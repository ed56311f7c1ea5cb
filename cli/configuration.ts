/** Which decision store and resources the command line works on: from a file, and from options, which override it. */
import { dirname, resolve } from 'node:path';
import type { DecisionLog, RecoverableResource } from '../coordinator/index.ts';
import { type Opened, type OwnPool, type Surroundings, openLog, openSession } from './addresses.ts';
import { usageError } from './exit.ts';
import { findFile, readConfiguration } from './load-file.ts';
import type { Secrets } from './secrets.ts';
import { names } from './table.ts';

/** What the options of the command line say. */
export interface Given {
  readonly config?: string | undefined;
  readonly store?: string | undefined;
  /** `name=address`. */
  readonly resources: readonly string[];
  readonly app?: string | undefined;
  readonly tablePrefix?: string | undefined;
}

/** A resource, ready to be asked. */
export interface NamedResource {
  readonly name: string;
  /** Without its password; absent for a session of the user's own. */
  readonly address?: string | undefined;
  readonly resource: RecoverableResource & { check?(): Promise<unknown> };
}

/** What the command line works on. */
export interface Deployment {
  /** Where this was read; undefined where all is in the options. */
  readonly file: string | undefined;
  readonly app: string;
  readonly log: DecisionLog;
  readonly logAddress: string | undefined;
  readonly resources: readonly NamedResource[];
  /** Closes what was opened here. */
  close(): Promise<void>;
}

interface Contents {
  store?: unknown;
  decisionLog?: unknown;
  resources?: unknown;
  app?: unknown;
  tablePrefix?: unknown;
}

const KEYS = ['store', 'decisionLog', 'resources', 'app', 'tablePrefix'];
const DEFAULT_APP = 'unanimous';

/** @throws CommandError where something is missing, wrong or can't be loaded. */
export async function openDeployment(given: Given, folder: string, secrets: Secrets): Promise<Deployment> {
  const file =
    given.config !== undefined
      ? resolve(folder, given.config)
      : given.store === undefined
        ? findFile(folder)
        : undefined;
  const contents = file === undefined ? {} : checkKeys(file, await readConfiguration(file, secrets));
  const where = file ?? 'the command line';
  const around: Surroundings = { folder: file === undefined ? folder : dirname(file), secrets };
  const pools: OwnPool[] = [];
  const own = <T>(opened: Opened<T>): Opened<T> => {
    pools.push(opened.pool);
    return opened;
  };
  const { log, address } = await openStore(where, contents, given, around, own);
  const resources = await openResources(where, contents, given, around, own);
  return {
    file,
    app: checkText(where, 'app', given.app ?? contents.app) ?? DEFAULT_APP,
    log,
    logAddress: address,
    resources,
    close: async () => {
      await log.close();
      await Promise.all(pools.map((pool) => pool.end()));
    },
  };
}

type Own = <T>(opened: Opened<T>) => Opened<T>;

async function openStore(
  where: string,
  contents: Contents,
  given: Given,
  around: Surroundings,
  own: Own,
): Promise<{ log: DecisionLog; address: string | undefined }> {
  const tablePrefix = checkText(where, 'tablePrefix', given.tablePrefix ?? contents.tablePrefix);
  const address = given.store ?? contents.store;
  if (given.store === undefined && contents.decisionLog !== undefined) {
    if (contents.store !== undefined) throw usageError(`${where} has both a store and a decisionLog: one is needed`);
    return { log: checkLog(where, contents.decisionLog), address: undefined };
  }
  if (address === undefined) {
    throw usageError('the decision store must be known, and no configuration was found', [
      'write unanimous.config.json: { "store": "postgres://…", "resources": { "bank": "postgres://…" } }',
      'or say it here: --store URL --resource NAME=URL',
    ]);
  }
  if (typeof address !== 'string') throw usageError(`the store in ${where} must be an address, a text`);
  const opened = own(await openLog(address, tablePrefix === undefined ? {} : { tablePrefix }, around));
  return { log: opened.it, address: opened.address };
}

function checkLog(where: string, value: unknown): DecisionLog {
  const methods = ['open', 'nodes', 'fence', 'decisions', 'decisionsOf', 'actByHand', 'handActions', 'close'];
  const missing = methods.filter((method) => typeof (value as Record<string, unknown> | null)?.[method] !== 'function');
  if (missing.length === 0) return value as DecisionLog;
  throw usageError(
    `the decisionLog in ${where} must be a decision log, such as new PgDecisionLog(session); what is there has no ${names(missing)}`,
  );
}

/** By name: those of the file, and those of the options, which come first. */
async function openResources(
  where: string,
  contents: Contents,
  given: Given,
  around: Surroundings,
  own: Own,
): Promise<NamedResource[]> {
  const all = new Map<string, unknown>(entriesOf(where, contents.resources));
  for (const each of given.resources) {
    const at = each.indexOf('=');
    if (at < 1) throw usageError('--resource takes NAME=URL, with the name that the session has in the application');
    all.set(each.slice(0, at), each.slice(at + 1));
  }
  const opened: NamedResource[] = [];
  for (const [name, value] of all) {
    if (typeof value === 'string') {
      const { it, address } = own(await openSession(`resource ${name}`, value, name, around));
      opened.push({ name, address, resource: it });
    } else opened.push({ name, resource: checkResource(where, name, value) });
  }
  if (opened.length > 0) return opened;
  throw usageError(`the resources must be known, and ${where} names none`, ['--resource NAME=URL names one']);
}

function entriesOf(where: string, resources: unknown): [string, unknown][] {
  if (resources === undefined) return [];
  if (Array.isArray(resources)) {
    const entries = resources.map((each): [string, unknown] => [String((each as { name?: unknown })?.name), each]);
    const twice = entries.find(([name], index) => entries.findIndex(([other]) => other === name) !== index);
    if (twice !== undefined)
      throw usageError(`the resources in ${where} must have different names; '${twice[0]}' comes twice`);
    return entries;
  }
  if (typeof resources === 'object' && resources !== null) return Object.entries(resources);
  throw usageError(`the resources in ${where} must be an array of sessions, or addresses by name`);
}

function checkResource(where: string, name: string, value: unknown): NamedResource['resource'] {
  const resource = value as Partial<RecoverableResource> | null | undefined;
  const methods = ['listPrepared', 'commitPrepared', 'rollbackPrepared'] as const;
  if (methods.some((method) => typeof resource?.[method] !== 'function')) {
    throw usageError(`the resource ${name} in ${where} must be an address or a session, such as new PgSession(pool)`);
  }
  if (resource!.name !== name) {
    throw usageError(
      `the resource ${name} in ${where} must go by its session's own name, '${String(resource!.name)}': what is prepared bears that`,
    );
  }
  return resource as NamedResource['resource'];
}

function checkKeys(file: string, value: unknown): Contents {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw usageError(`${file} must export an object with ${names(KEYS)}`, ['of a module, that is its default export']);
  }
  const unknown = Object.keys(value).filter((key) => !KEYS.includes(key));
  if (unknown.length > 0) throw usageError(`${file} has ${names(unknown)}; known are ${names(KEYS)}`);
  return value;
}

function checkText(where: string, what: string, value: unknown): string | undefined {
  if (value === undefined || typeof value === 'string') return value;
  throw usageError(`${what} in ${where} must be a text`);
}
