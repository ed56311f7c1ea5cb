// Prisma's driver adapter, driven as Prisma's client drives it: that sends BEGIN by startTransaction, and COMMIT by executeRaw.
import { PrismaPg } from '@prisma/adapter-pg';
import type { Adapter, Own, Statements } from '../adapter.ts';
import type { Place } from '../postgres.ts';

type Connection = Awaited<ReturnType<PrismaPg['connect']>>;
type Queryable = Pick<Connection, 'queryRaw' | 'executeRaw'>;

const integer = { scalarType: 'int', arity: 'scalar' } as const;

function statements(queryable: Queryable): Statements {
  const execute = (sql: string, ...args: number[]): Promise<number> =>
    queryable.executeRaw({ sql, args, argTypes: args.map(() => integer) });
  return {
    insert: (id) => execute('insert into accounts values ($1, 0)', id),
    update: (id, balance) => execute('update accounts set balance = $2 where id = $1', id, balance),
    remove: (id) => execute('delete from accounts where id = $1', id),
    ids: async () => {
      const { rows } = await queryable.queryRaw({ sql: 'select id from accounts order by id', args: [], argTypes: [] });
      return rows.map(([id]) => id as number);
    },
  };
}

export async function openPrisma({ session }: Place): Promise<Adapter & { readonly connection: Connection }> {
  const connection = await new PrismaPg(session.pool()).connect();
  type Handle = Awaited<ReturnType<typeof connection.startTransaction>>;
  let savepoints = 0;
  const ownOf = (handle: Handle): Own => ({
    ...statements(handle),
    nested: async (work) => {
      const name = `prisma_${++savepoints}`;
      await handle.createSavepoint!(name);
      try {
        return await work(ownOf(handle));
      } catch (error) {
        await handle.rollbackToSavepoint!(name);
        throw error;
      }
    },
  });
  const end = (handle: Handle, sql: 'COMMIT' | 'ROLLBACK'): Promise<number> =>
    handle.executeRaw({ sql, args: [], argTypes: [] });
  return {
    name: 'Prisma',
    connection,
    ...statements(connection),
    transaction: async (work, { isolation } = {}) => {
      const handle = await connection.startTransaction(isolation === undefined ? undefined : 'SERIALIZABLE');
      try {
        const value = await work(ownOf(handle));
        await end(handle, 'COMMIT');
        await handle.commit();
        return value;
      } catch (error) {
        await end(handle, 'ROLLBACK');
        await handle.rollback();
        throw error;
      }
    },
    close: () => connection.dispose(),
  };
}
