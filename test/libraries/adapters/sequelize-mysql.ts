import mysql from 'mysql2';
import { Sequelize } from 'sequelize';
import type { Place } from '../mysql.ts';
import { sequelizeAdapter } from './sequelize.ts';

export async function openSequelize({ session }: Place): Promise<ReturnType<typeof sequelizeAdapter>> {
  const options: object = {
    dialect: 'mysql',
    dialectModule: session.driver(mysql),
    // The time zone is set for the pool.
    keepDefaultTimezone: true,
    // Its connections cost nothing, and must never be what a transaction waits for that has one.
    pool: { max: 10_000 },
    logging: false,
  };
  const sequelize = new Sequelize(options);
  // What it asks a server at its first connection is asked here, outside of any transaction.
  await sequelize.authenticate();
  return sequelizeAdapter(sequelize);
}
