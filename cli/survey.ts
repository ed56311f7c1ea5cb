/**
 * What is known of every transaction now: what is prepared, who may decide, what is decided. Read in this order, as recovery does, so that
 * what is decided meanwhile isn't taken for undecided.
 */
import type { DecisionNode, DecisionRow, PreparedReport } from '../coordinator/index.ts';
import type { Deployment, NamedResource } from './configuration.ts';
import { CommandError } from './exit.ts';
import type { Secrets } from './secrets.ts';
import { isGidOf, parseGid } from './gid.ts';

/** So many decisions are looked at; those of what is prepared are looked at in any case. */
const DECISIONS = 1_000;

/** A resource as it answers now. */
export interface ResourceState {
  readonly name: string;
  readonly address: string | undefined;
  /** Why it can't be asked; undefined where it answers. */
  readonly failure: string | undefined;
  /** How many branches of this application and store it has prepared under its name. */
  readonly prepared: number;
  /** For how long the oldest of them has been, in milliseconds. */
  readonly oldestMs: number | undefined;
  /** How many are prepared at its server, by anybody, and may be; undefined where there is no limit. */
  readonly used: number | undefined;
  readonly limit: number | undefined;
  /** Transactions of other applications or stores that have something prepared there. */
  readonly foreign: readonly string[];
}

/** A part of a transaction that is prepared. */
export interface BranchState {
  readonly resource: string;
  /** False where no configured resource has that name. */
  readonly configured: boolean;
  readonly ageMs: number | undefined;
}

/** What is left of a transaction. */
export interface TransactionState {
  readonly gid: string;
  readonly incarnation: string;
  /** The process that began it: registered and renewing its lease, registered and silent, or not registered any more. */
  readonly process: 'living' | 'silent' | 'gone';
  /** The name of that process; undefined where it isn't registered any more. */
  readonly node: string | undefined;
  readonly decision: DecisionRow | undefined;
  readonly branches: readonly BranchState[];
  /** How long the oldest branch has been prepared, in milliseconds; undefined where no server tells. */
  readonly ageMs: number | undefined;
  /** Who must follow the decision and couldn't be asked. */
  readonly unreached: readonly string[];
  /** Who must follow the decision and isn't configured here. */
  readonly unknown: readonly string[];
}

export interface Survey {
  readonly app: string;
  readonly store: string;
  readonly nodes: readonly DecisionNode[];
  readonly resources: readonly ResourceState[];
  readonly transactions: readonly TransactionState[];
  /** Whether there are more decisions than were looked at. */
  readonly isCut: boolean;
}

/** Opens the store without making it, and returns its identity. @throws CommandError where it can't be reached or isn't there. */
export function openStore(deployment: Deployment, secrets: Secrets): Promise<string> {
  return ofStore(deployment, secrets, (log) => log.open({ create: false }));
}

/** Asks the store. @throws CommandError where it can't be. */
export async function ofStore<T>(
  { log, logAddress }: Deployment,
  secrets: Secrets,
  ask: (log: Deployment['log']) => Promise<T>,
): Promise<T> {
  try {
    return await ask(log);
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === 'ERR_TXN_CONFIGURATION') throw new CommandError('usage', secrets.reason(error), [], error);
    if (typeof code === 'string' && code.startsWith('ERR_TXN_FENCED')) throw error;
    throw new CommandError(
      'unreachable',
      `the decision store${logAddress === undefined ? '' : ` at ${logAddress}`} can't be asked: ${secrets.reason(error)}`,
      ['what is prepared stays as it is, and safe, until the store is back: nobody can say how it was decided before'],
      error,
    );
  }
}

/** Looks at everything, or at one transaction. @throws CommandError where the store can't be asked. */
export async function survey(deployment: Deployment, secrets: Secrets, gid?: string): Promise<Survey> {
  const store = await openStore(deployment, secrets);
  const prefix = `${deployment.app}:${store}:`;
  const answers = await Promise.all(deployment.resources.map((each) => askResource(each, secrets)));
  const branches = branchesOf(answers, prefix, new Set(deployment.resources.map(({ name }) => name)));
  const nodes = await ofStore(deployment, secrets, (log) => log.nodes());
  const { decisions, isCut } = await ofStore(deployment, secrets, (log) =>
    readDecisions(log, prefix, [...branches.keys()], gid),
  );
  const failed = new Set(answers.filter(({ failure }) => failure !== undefined).map(({ name }) => name));
  const gids = gid === undefined ? [...new Set([...branches.keys(), ...decisions.keys()])] : [gid];
  const transactions = gids
    .filter((each) => isGidOf(prefix, each))
    .map((each) => stateOf(each, branches.get(each) ?? [], nodes, decisions.get(each), failed, deployment.resources))
    .sort((a, b) => (b.ageMs ?? 0) - (a.ageMs ?? 0) || (a.gid < b.gid ? -1 : 1));
  return {
    app: deployment.app,
    store,
    nodes,
    resources: answers.map((answer) => resourceState(answer, prefix)),
    transactions,
    isCut,
  };
}

interface Answer {
  readonly name: string;
  readonly address: string | undefined;
  readonly report: PreparedReport;
  readonly failure: string | undefined;
}

async function askResource({ name, address, resource }: NamedResource, secrets: Secrets): Promise<Answer> {
  try {
    const report = (await resource.describePrepared?.()) ?? {
      branches: (await resource.listPrepared()).map((xid) => ({ xid })),
    };
    return { name, address, report, failure: undefined };
  } catch (error) {
    return { name, address, report: { branches: [] }, failure: secrets.reason(error) };
  }
}

/** By transaction. Two resources at one server both see what is there, so each branch is taken once. */
function branchesOf(
  answers: readonly Answer[],
  prefix: string,
  configured: ReadonlySet<string>,
): Map<string, BranchState[]> {
  const found = new Map<string, BranchState[]>();
  for (const { xid, ageMs } of answers.flatMap(({ report }) => report.branches)) {
    if (!isGidOf(prefix, xid.gid)) continue;
    const branches = found.get(xid.gid) ?? [];
    found.set(xid.gid, branches);
    if (branches.some(({ resource }) => resource === xid.branch)) continue;
    branches.push({ resource: xid.branch, configured: configured.has(xid.branch), ageMs });
  }
  for (const branches of found.values()) branches.sort((a, b) => (a.resource < b.resource ? -1 : 1));
  return found;
}

async function readDecisions(
  log: Deployment['log'],
  prefix: string,
  prepared: readonly string[],
  gid: string | undefined,
): Promise<{ decisions: Map<string, DecisionRow>; isCut: boolean }> {
  if (gid !== undefined) {
    const rows = await log.decisionsOf([gid]);
    return { decisions: new Map(rows.map((row) => [row.gid, row])), isCut: false };
  }
  const oldest = await log.decisions(DECISIONS, prefix);
  const own = prepared.length === 0 ? [] : await log.decisionsOf(prepared);
  return { decisions: new Map([...oldest, ...own].map((row) => [row.gid, row])), isCut: oldest.length === DECISIONS };
}

function stateOf(
  gid: string,
  branches: readonly BranchState[],
  nodes: readonly DecisionNode[],
  decision: DecisionRow | undefined,
  failed: ReadonlySet<string>,
  resources: readonly NamedResource[],
): TransactionState {
  const { incarnation } = parseGid(gid);
  const node = nodes.find((each) => each.incarnation === incarnation);
  const ages = branches.flatMap(({ ageMs }) => ageMs ?? []);
  const mustFollow = decision?.outcome === 'committed' ? decision.participants : [];
  return {
    gid,
    incarnation,
    process: node === undefined ? 'gone' : node.isExpired ? 'silent' : 'living',
    node: node?.node,
    decision,
    branches,
    ageMs: ages.length === 0 ? undefined : Math.max(...ages),
    unreached: mustFollow.filter((name) => failed.has(name)),
    unknown: mustFollow.filter((name) => !resources.some((each) => each.name === name)),
  };
}

function resourceState({ name, address, failure, report }: Answer, prefix: string): ResourceState {
  const ours = report.branches.filter(({ xid }) => xid.branch === name && isGidOf(prefix, xid.gid));
  const ages = ours.flatMap(({ ageMs }) => ageMs ?? []);
  const foreign = report.branches.filter(({ xid }) => !isGidOf(prefix, xid.gid)).map(({ xid }) => xid.gid);
  return {
    name,
    address,
    failure,
    prepared: ours.length,
    oldestMs: ages.length === 0 ? undefined : Math.max(...ages),
    used: report.used,
    limit: report.limit,
    foreign: [...new Set(foreign)],
  };
}
