// Transactions over mysql2 by MysqlSession.
import mysql from 'mysql2/promise';
import { type RegisterOptions, TransactionCoordinator, register } from '../../coordinator/index.ts';
import { MysqlSession } from '../../datamanagers/mysql/index.ts';
import { type Way, simple } from '../throughput/slice.ts';
import { CONNECTIONS, SELECT, UPDATE, type Workload } from './workload.ts';

type Make = (url: string) => Way<Workload>;
type Method = 'query' | 'execute';

function session(
  uri: string,
  options: RegisterOptions | undefined,
): { transaction: TransactionCoordinator; db: MysqlSession } {
  const transaction = new TransactionCoordinator();
  const pool = mysql.createPool({ uri, connectionLimit: CONNECTIONS });
  return { transaction, db: register(new MysqlSession(pool), { ...options, coordinator: transaction }) };
}

function byRun(method: Method, options?: RegisterOptions): Make {
  return (url) => {
    const { transaction, db } = session(url, options);
    return {
      write: simple((id) =>
        transaction.run(async () => {
          await db[method](SELECT, [id]);
          await db[method](UPDATE, [1, id]);
        }),
      ),
    };
  };
}

function byBegin(method: Method, options?: RegisterOptions): Make {
  return (url) => {
    const { transaction, db } = session(url, options);
    return {
      write: (loop) =>
        transaction.context(() =>
          loop(async (id) => {
            await transaction.begin();
            await db[method](SELECT, [id]);
            await db[method](UPDATE, [1, id]);
            await transaction.commit();
          }),
        ),
    };
  };
}

const plain = { twoPhase: false } as const;

export const ours = {
  byRun: byRun('query'),
  byBegin: byBegin('query'),
  byRunExecute: byRun('execute'),
  byRunPlain: byRun('query', plain),
  byBeginPlain: byBegin('query', plain),
  byRunPlainExecute: byRun('execute', plain),
} as const;
