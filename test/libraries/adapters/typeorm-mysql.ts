import mysql from 'mysql2';
import { DataSource } from 'typeorm';
import type { Place } from '../mysql.ts';
import { Accounts, typeorm } from './typeorm.ts';

export async function openTypeorm({ session, product }: Place): Promise<ReturnType<typeof typeorm>> {
  const type = product === 'MariaDB' ? 'mariadb' : 'mysql';
  const source = new DataSource({ type, driver: session.driver(mysql), entities: [Accounts] });
  return typeorm(await source.initialize());
}
