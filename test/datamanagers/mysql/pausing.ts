// A process that commits over two databases, says the transaction's id, and stops itself when both are prepared, as a process does that
// is paused by its machine. Given its preparedWaitSeconds and the databases' addresses; whoever started it lets it go on.
import driver from 'mysql2/promise';
import { register, transaction } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { plain } from '../sql/helpers.ts';

const [wait, ...urls] = process.argv.slice(2);
const sessions = urls.map((url, index) => {
  const pool = driver.createPool({ uri: url });
  const session = register(new MysqlSession(pool, { name: `paused${index}`, preparedWaitSeconds: Number(wait) }));
  return { pool, session };
});
await transaction.run(
  async (txn) => {
    for (const { session } of sessions) await session.query('insert into accounts values (3, 0)');
    const stop = async (): Promise<void> => {
      process.stdout.write(`${txn.id}\n`);
      process.kill(process.pid, 'SIGSTOP');
    };
    txn.join(plain('!', { tpcFinish: stop }));
  },
  { attempts: 1 },
);
process.stdout.write('committed\n');
await Promise.all(sessions.map(({ pool }) => pool.end()));
