// The commit of a transaction over several databases; what is done before it isn't measured.
import pg from 'pg';
import { TransactionCoordinator, register } from '../../coordinator/index.ts';
import { PgDecisionLog, PgSession } from '../../datamanagers/pg/index.ts';
import { UPDATE } from '../postgres/workload.ts';
import { randomId } from '../throughput/slice.ts';
import { type Branch, DecisionsByHand, databaseOf } from '../two/databases.ts';
import { serveSeries, timed } from './serve-series.ts';
import type { Make } from './series.ts';

/** Ends them all; the first may be one that isn't prepared. */
type End = (all: readonly Branch[], gid: string, decisions: DecisionsByHand) => Promise<unknown>;

let transactions = 0;

function byHand(preparesFirst: boolean, end: End): Make {
  return (urls) => {
    const databases = urls.map(databaseOf);
    const decisions = new DecisionsByHand(urls[0]!);
    return async (size) => {
      await decisions.ready();
      const gid = `by-hand:${process.pid}:${++transactions}`;
      const branches: Branch[] = [];
      for (const [index, open] of databases.slice(0, size).entries()) {
        const branch = await open();
        branches.push(branch);
        // Of one server, where names are for all of its databases.
        await branch.begin(index > 0 || preparesFirst ? `${gid}:${index}` : undefined);
        await branch.update(randomId());
      }
      const microseconds = await timed(() => end(branches, gid, decisions));
      for (const branch of branches) branch.release(false);
      return microseconds;
    };
  };
}

const serial: End = async (all) => {
  for (const branch of all) await branch.prepare();
  for (const branch of all) await branch.commitPrepared();
};

const atOnce: End = async (all) => {
  await Promise.all(all.map((branch) => branch.prepare()));
  await Promise.all(all.map((branch) => branch.commitPrepared()));
};

const fullDecided: End = async (all, gid, decisions) => {
  await Promise.all(all.map((branch) => branch.prepare()));
  await decisions.decide(gid);
  await Promise.all(all.map((branch) => branch.commitPrepared()));
  decisions.followed(gid);
};

const lastResource: End = async ([first, ...others]) => {
  await Promise.all(others.map((branch) => branch.prepare()));
  await first!.commit();
  await Promise.all(others.map((branch) => branch.commitPrepared()));
};

const lastResourceDecided: End = async ([first, ...others], gid, decisions) => {
  await Promise.all(others.map((branch) => branch.prepare()));
  await (others.length === 0 ? first!.commit() : first!.commitDecided(gid));
  await Promise.all(others.map((branch) => branch.commitPrepared()));
  if (others.length > 0) decisions.followed(gid);
};

/** `isApart`: decisions are kept by a session of their own, which changes nothing else. */
function byBegin(isApart: boolean): Make {
  return (urls) => {
    const coordinator = new TransactionCoordinator();
    const open = (connectionString: string, name: string): PgSession => {
      const pool = new pg.Pool({ connectionString, idleTimeoutMillis: 0 });
      return register(new PgSession(pool, { name }), { coordinator });
    };
    const sessions = urls.map((url, index) => open(url, `db${index}`));
    const store = isApart ? open(urls[0]!, 'store') : sessions[0]!;
    coordinator.configure({ decisionLog: new PgDecisionLog(store) });
    return (size) =>
      coordinator.context(async () => {
        const txn = await coordinator.begin();
        for (const session of sessions.slice(0, size)) await session.query(UPDATE, [randomId(), 1]);
        return timed(() => txn.commit());
      });
  };
}

serveSeries({
  serial: byHand(true, serial),
  atOnce: byHand(true, atOnce),
  fullDecided: byHand(true, fullDecided),
  lastResource: byHand(false, lastResource),
  lastResourceDecided: byHand(false, lastResourceDecided),
  oursFull: byBegin(true),
  oursLastResource: byBegin(false),
});
