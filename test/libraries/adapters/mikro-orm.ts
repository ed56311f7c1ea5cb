import {
  EntitySchema,
  IsolationLevel,
  MikroORM,
  PostgreSqlKnexDialect,
  type SqlEntityManager,
} from '@mikro-orm/postgresql';
import type pg from 'pg';
import type { PgSession } from 'unanimous/pg';
import type { Adapter, Own, Statements } from '../adapter.ts';
import type { Place } from '../postgres.ts';

interface Account {
  id: number;
  balance: number;
}

export const Accounts = new EntitySchema<Account>({
  name: 'Account',
  tableName: 'accounts',
  properties: { id: { type: 'integer', primary: true }, balance: { type: 'integer' } },
});

/** The dialect, on the connections of a session. */
export function dialectOf(session: PgSession<pg.Pool>): typeof PostgreSqlKnexDialect {
  return class extends PostgreSqlKnexDialect {
    acquireConnection(): Promise<pg.PoolClient> {
      return session.pool().connect();
    }
    async releaseConnection(client: pg.PoolClient): Promise<void> {
      client.release();
    }
    _query(client: pg.PoolClient, query: { options?: object }): unknown {
      // MikroORM parses dates by itself.
      query.options = { types: this['connectionSettings'].types, ...query.options };
      return super['_query'](client, query);
    }
  };
}

/** MikroORM, whatever its driver. */
export function mikroOrm(orm: MikroORM): Adapter & { readonly orm: MikroORM } {
  const statements = (fork: () => SqlEntityManager): Statements => ({
    insert: (id) => fork().insert(Accounts, { id, balance: 0 }),
    update: (id, balance) => fork().nativeUpdate(Accounts, { id }, { balance }),
    remove: (id) => fork().nativeDelete(Accounts, { id }),
    ids: async () => (await fork().find(Accounts, {}, { orderBy: { id: 'asc' } })).map(({ id }) => id),
  });
  const ownOf = (em: SqlEntityManager): Own => ({
    ...statements(() => em),
    nested: (work) => em.transactional((inner) => work(ownOf(inner))),
  });
  return {
    name: 'MikroORM',
    hidesRefusedBegin: true,
    orm,
    ...statements(() => orm.em.fork()),
    transaction: (work, { isolation } = {}) =>
      orm.em
        .fork()
        .transactional(
          (em) => work(ownOf(em)),
          isolation === undefined ? {} : { isolationLevel: IsolationLevel.SERIALIZABLE },
        ),
    close: () => orm.close(),
  };
}

export async function openMikroOrm({ session }: Place): Promise<ReturnType<typeof mikroOrm>> {
  return mikroOrm(
    await MikroORM.init({
      entities: [Accounts],
      dbName: 'whatever the pool connects to',
      driverOptions: { client: dialectOf(session) },
    }),
  );
}
