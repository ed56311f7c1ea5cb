import { MikroORM as MariadbOrm } from '@mikro-orm/mariadb';
import { MikroORM as MysqlOrm, MySqlKnexDialect } from '@mikro-orm/mysql';
import type { PoolConnection } from 'mysql2';
import type { Place } from '../mysql.ts';
import { Accounts, mikroOrm } from './mikro-orm.ts';

/** The dialect, on the connections of a session. */
export function dialectOf(session: Place['session']): typeof MySqlKnexDialect {
  const pool = session.pool().pool;
  return class extends MySqlKnexDialect {
    acquireConnection(): Promise<PoolConnection> {
      return new Promise((resolve, reject) => {
        pool.getConnection((error, connection) => (error ? reject(error) : resolve(connection)));
      });
    }
    async releaseConnection(connection: PoolConnection): Promise<void> {
      connection.release();
    }
    _query(connection: PoolConnection, query: { options?: object }): unknown {
      // MikroORM reads dates and big numbers by itself.
      query.options = { supportBigNumbers: true, dateStrings: true, ...query.options };
      return super['_query'](connection, query);
    }
  };
}

export async function openMikroOrm({ session, product, database }: Place): Promise<ReturnType<typeof mikroOrm>> {
  const options = {
    entities: [Accounts],
    // It would be made, and used from then on, where it isn't there.
    dbName: database,
    driverOptions: { client: dialectOf(session) },
  };
  const orm = product === 'MariaDB' ? await MariadbOrm.init(options) : await MysqlOrm.init(options);
  return mikroOrm(orm as unknown as Parameters<typeof mikroOrm>[0]);
}
