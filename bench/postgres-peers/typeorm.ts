// TypeORM with typeorm-transactional, which finds the transaction by the context; and TypeORM in transactions of ours.
//
// The statements are those of the others: `findOneBy` and `increment`. `save` would read the row once more.
import { createRequire } from 'node:module';
import pg from 'pg';
import type { Work } from '../peers/work.ts';
import { SELECT, UPDATE } from '../postgres/workload.ts';
import { simple } from '../throughput/slice.ts';
import { CONNECTIONS, sessionOf } from './connect.ts';
import type { Make } from './make.ts';

// By what is used of them: the declarations of TypeORM don't compile where not all of the drivers are installed that they mention.
type Repository = {
  findOneBy(where: object): Promise<unknown>;
  increment(where: object, column: string, by: number): Promise<unknown>;
};
type Source = {
  initialize(): Promise<unknown>;
  query(text: string, values: readonly unknown[]): Promise<unknown>;
  getRepository(entity: object): Repository;
};

const require = createRequire(import.meta.url);
// Before anything of TypeORM: it keeps its decorators' notes there.
require('reflect-metadata');
const { DataSource, EntitySchema } = require('typeorm') as {
  DataSource: new (options: object) => Source;
  EntitySchema: new (options: object) => object;
};

const Account = new EntitySchema({
  name: 'accounts',
  columns: { id: { type: 'int', primary: true }, balance: { type: 'int' } },
});

const text: Work<Source> = async (source, id) => {
  await source.query(SELECT, [id]);
  await source.query(UPDATE, [id, 1]);
};

const entities: Work<Source> = async (source, id) => {
  const accounts = source.getRepository(Account);
  await accounts.findOneBy({ id });
  await accounts.increment({ id }, 'balance', 1);
};

// TypeORM takes pg-native by itself where that is installed, so that it is told what to take.
async function open(options: object): Promise<Source> {
  const source = new DataSource({ type: 'postgres', entities: [Account], ...options });
  await source.initialize();
  return source;
}

function transactional(work: Work<Source>): Make {
  return async (url) => {
    const { StorageDriver, addTransactionalDataSource, initializeTransactionalContext, runInTransaction } =
      require('typeorm-transactional') as {
        StorageDriver: { ASYNC_LOCAL_STORAGE: unknown };
        initializeTransactionalContext(options: object): void;
        addTransactionalDataSource(source: Source): Source;
        runInTransaction<T>(work: () => Promise<T>): Promise<T>;
      };
    // The faster one of its two ways to know the context.
    initializeTransactionalContext({ storageDriver: StorageDriver.ASYNC_LOCAL_STORAGE });
    const extra = { max: CONNECTIONS, idleTimeoutMillis: 0 };
    const source = addTransactionalDataSource(await open({ url, driver: pg, extra }));
    return { write: simple((id) => runInTransaction(() => work(source, id))) };
  };
}

function inRun(work: Work<Source>): Make {
  return async (url) => {
    const { transaction, session } = sessionOf(url);
    const source = await open({ driver: session.driver(pg) });
    return { write: simple((id) => transaction.run(() => work(source, id))) };
  };
}

export const makers = {
  text: transactional(text),
  entities: transactional(entities),
  inRunText: inRun(text),
  inRunEntities: inRun(entities),
} as const satisfies Record<string, Make>;
