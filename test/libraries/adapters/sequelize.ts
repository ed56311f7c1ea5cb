import pg from 'pg';
import { DataTypes, Sequelize, type Model, type ModelStatic, type Transaction } from 'sequelize';
import type { Adapter, Own, Statements } from '../adapter.ts';
import type { Place } from '../postgres.ts';

type Account = Model<{ id: number; balance: number }> & { id: number };

/** Sequelize, whatever its dialect. */
export function sequelizeAdapter(sequelize: Sequelize): Adapter & { readonly sequelize: Sequelize } {
  const Accounts: ModelStatic<Account> = sequelize.define(
    'accounts',
    { id: { type: DataTypes.INTEGER, primaryKey: true }, balance: DataTypes.INTEGER },
    { timestamps: false },
  );
  const statements = (transaction: Transaction | null): Statements => ({
    insert: (id) => Accounts.create({ id, balance: 0 }, { transaction }),
    update: (id, balance) => Accounts.update({ balance }, { where: { id }, transaction }),
    remove: (id) => Accounts.destroy({ where: { id }, transaction }),
    ids: async () => (await Accounts.findAll({ order: ['id'], transaction })).map(({ id }) => id),
  });
  const ownOf = (own: Transaction): Own => ({
    ...statements(own),
    nested: (work) => sequelize.transaction({ transaction: own }, (inner) => work(ownOf(inner))),
  });
  return {
    name: 'Sequelize',
    sequelize,
    ...statements(null),
    transaction: (work, { isolation } = {}) =>
      sequelize.transaction(isolation === undefined ? {} : { isolationLevel: 'SERIALIZABLE' as never }, (own) =>
        work(ownOf(own)),
      ),
    close: () => sequelize.close(),
  };
}

export async function openSequelize({ session }: Place): Promise<ReturnType<typeof sequelizeAdapter>> {
  const options: object = {
    dialect: 'postgres',
    dialectModule: session.driver(pg),
    // Settings are made for the pool.
    keepDefaultTimezone: true,
    standardConformingStrings: false,
    dialectOptions: { clientMinMessages: 'ignore' },
    // Its clients cost nothing, and must never be what a transaction waits for that has a connection.
    pool: { max: 10_000 },
    logging: false,
  };
  const sequelize = new Sequelize(options);
  // What it asks a server at its first connection is asked here, outside of any transaction.
  await sequelize.authenticate();
  return sequelizeAdapter(sequelize);
}
