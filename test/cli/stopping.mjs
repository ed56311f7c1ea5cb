// Run by setup.ts in the user's project: a process of an application that writes to all of its resources in one transaction, stops there when
// all have prepared, before the decision is written ('undecided') or behind it ('decided'), says the id of the transaction, and goes on when it
// is told to. JavaScript, because Node.js alone runs it.
import { once } from 'node:events';
import mysqlDriver from 'mysql2/promise';
import pgDriver from 'pg';
import { register, transaction } from 'unanimous';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';

const [stop, application] = process.argv.slice(2);
const { store, resources, node = 'web1' } = JSON.parse(application);
// Lives as long as the test does that has started it.
process.stdin.on('end', () => process.exit()).resume();

function open(url, name) {
  if (url.startsWith('mysql:')) return new MysqlSession(mysqlDriver.createPool({ uri: url }), { name });
  const pool = new pgDriver.Pool({ connectionString: url });
  pool.on('error', () => undefined);
  return new PgSession(pool, { name });
}

const session = open(store, 'store');
const decisionLog = session instanceof PgSession ? new PgDecisionLog(session) : new MysqlDecisionLog(session);
// Recovery is the command's business here.
transaction.configure({ app: 'shop', node, decisionLog, recovery: false, onError: () => undefined });
const sessions = Object.entries(resources).map(([name, url]) => register(open(url, name)));

const say = (line) => process.stdout.write(`${line}\n`);
const nothing = () => undefined;
const bystander = {
  tpcBegin: nothing,
  commit: nothing,
  tpcVote: nothing,
  tpcFinish: nothing,
  tpcAbort: nothing,
  abort: nothing,
};
try {
  const txn = await transaction.run(
    async (txn) => {
      for (const each of sessions) await each.query(`insert into moves (id) values ('${txn.id}')`);
      const told = async () => {
        say(txn.id);
        await once(process.stdin, 'data');
      };
      // Its vote comes behind those of the databases, and its finish before theirs.
      if (stop === 'undecided') txn.join({ ...bystander, sortKey: '~~~', tpcVote: told });
      else txn.join({ ...bystander, sortKey: '!!!', tpcFinish: told });
      return txn;
    },
    { attempts: 1 },
  );
  say(`ended: ${txn.outcome.result}`);
} catch (error) {
  say(`ended: ${error.name}`);
}
await once(process.stdin, 'end');
