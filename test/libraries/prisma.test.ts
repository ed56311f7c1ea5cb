import { suite } from '../support/suite.ts';
import { openPrisma } from './adapters/prisma.ts';
import { onPostgres } from './postgres.ts';

const test = suite('Prisma’s driver adapter on PostgreSQL');
await onPostgres(test, openPrisma);
