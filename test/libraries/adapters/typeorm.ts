import pg from 'pg';
import { DataSource, EntitySchema, type EntityManager } from 'typeorm';
import type { Adapter, Own, Statements } from '../adapter.ts';
import type { Place } from '../postgres.ts';

interface Account {
  id: number;
  balance: number;
}

export const Accounts = new EntitySchema<Account>({
  name: 'accounts',
  columns: { id: { type: 'int', primary: true }, balance: { type: 'int' } },
});

function statements(manager: EntityManager): Statements {
  return {
    insert: (id) => manager.insert(Accounts, { id, balance: 0 }),
    update: (id, balance) => manager.update(Accounts, { id }, { balance }),
    remove: (id) => manager.delete(Accounts, { id }),
    ids: async () => (await manager.find(Accounts, { order: { id: 'asc' } })).map(({ id }) => id),
  };
}

function ownOf(manager: EntityManager): Own {
  return { ...statements(manager), nested: (work) => manager.transaction((inner) => work(ownOf(inner))) };
}

/** TypeORM, whatever its driver. */
export function typeorm(source: DataSource): Adapter & { readonly source: DataSource } {
  return {
    name: 'TypeORM',
    source,
    ...statements(source.manager),
    transaction: (work, { isolation } = {}) => {
      const inside = (manager: EntityManager): ReturnType<typeof work> => work(ownOf(manager));
      return isolation === undefined
        ? source.transaction(inside)
        : source.transaction(isolation.toUpperCase() as 'SERIALIZABLE', inside);
    },
    stream: async function* () {
      const rows = await source.createQueryBuilder(Accounts, 'a').orderBy('a.id').stream();
      for await (const { a_id: id } of rows as unknown as AsyncIterable<{ a_id: number }>) yield id;
    },
    close: () => source.destroy(),
  };
}

export async function openTypeorm({ session }: Place): Promise<ReturnType<typeof typeorm>> {
  const source = new DataSource({ type: 'postgres', driver: session.driver(pg), entities: [Accounts] });
  return typeorm(await source.initialize());
}
