// A process that is killed between the decision and the second phase, and what becomes of its transaction.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { transaction } from 'unanimous';
import type { Finding } from '../support/findings.ts';
import { heading, number, paint, say } from '../support/terminal.ts';
import { type Databases, checkInvariants } from './invariants.ts';

const longestMs = 30_000;

/** Shows it, and what is left in the databases afterwards. */
export async function killAndRecover(databases: Databases, committed: number): Promise<Finding[]> {
  heading('A process is killed between the decision and the second phase');
  const before = await stateOf(databases);
  const victim = spawn(process.execPath, [...process.execArgv, join(import.meta.dirname, 'victim.ts')], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const [, signal] = (await once(victim, 'exit')) as [number | null, string | null];
  const killedAt = performance.now();
  say(
    `  process ${victim.pid} transfers 25 from account 1 to account 2, and is gone by ${paint('yellow', String(signal))}`,
  );
  const half = await stateOf(databases);
  say(`    bank   ${change(before.bank, half.bank)}`);
  say(`    audit  ${change(before.audit, half.audit)}, as it is only prepared: ${paint('dim', half.prepared.join())}`);
  say(`    ${paint('dim', `written down in the bank before: ${half.decisions.join() || 'nothing'}`)}`);

  const report = await recover(databases);
  const seconds = ((performance.now() - killedAt) / 1000).toFixed(1);
  const after = await stateOf(databases);
  say(
    `  this process takes it for dead when its lease has run out, and finishes what it has decided, ${seconds} s after its death`,
  );
  say(`    bank   ${change(before.bank, after.bank)}`);
  say(`    audit  ${change(before.audit, after.audit)}`);
  const findings = await checkInvariants(databases, committed + 1);
  findings.push({
    holds: report > 0 && after.decisions.length === 0,
    what: 'recovery has committed what was decided',
    seen: `${report} branch committed, ${after.decisions.length} decisions left to follow`,
  });
  return findings;
}

/** Runs recovery, which runs by itself every few seconds, until nothing is left; returns how much it has committed. */
async function recover({ bank }: Databases): Promise<number> {
  let committed = 0;
  for (const end = performance.now() + longestMs; performance.now() < end; await sleep(50)) {
    committed += (await transaction.recover()).committed.length;
    const { rows } = await bank.query('select 1 from pg_prepared_xacts union all select 1 from unanimous_decision');
    if (rows.length === 0) break;
  }
  return committed;
}

interface State {
  readonly bank: ReadonlyMap<number, number>;
  readonly audit: ReadonlyMap<number, number>;
  readonly prepared: readonly string[];
  readonly decisions: readonly string[];
}

/** The two accounts in both databases, over plain connections. */
async function stateOf({ bank, audit }: Databases): Promise<State> {
  const balances = await bank.query<{ id: number; sum: number }>(
    'select id, balance as sum from accounts where id < 3',
  );
  const entries = await audit.query<{ id: number; sum: number }>(
    'select account as id, sum(amount)::int as sum from entries where account < 3 group by account',
  );
  const prepared = await bank.query<{ gid: string }>('select gid from pg_prepared_xacts');
  const decisions = await bank.query<{ text: string }>(
    "select 'transaction ' || gid || ' commits' as text from unanimous_decision where outcome = 'C'",
  );
  return {
    bank: new Map(balances.rows.map(({ id, sum }) => [id, sum])),
    audit: new Map(entries.rows.map(({ id, sum }) => [id, sum])),
    prepared: prepared.rows.map(({ gid }) => gid),
    decisions: decisions.rows.map(({ text }) => text),
  };
}

function change(before: ReadonlyMap<number, number>, after: ReadonlyMap<number, number>): string {
  const changes = [1, 2].map((id) => (after.get(id) ?? 0) - (before.get(id) ?? 0));
  if (changes.every((amount) => amount === 0)) return 'sees nothing of it';
  return changes.map((amount, index) => `account ${index + 1}: ${amount > 0 ? '+' : ''}${number(amount)}`).join(', ');
}
