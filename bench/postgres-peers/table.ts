// Table 2: one PostgreSQL, by what others use, and by what they use in transactions of ours.
import type { Comparison } from '../throughput/table.ts';
import type { ContenderName } from './contenders.ts';
import type { Workload } from './make.ts';

export const onPostgresByPeers: Comparison<ContenderName, Workload> = {
  folder: 'postgres-peers',
  table: 2,
  title: 'one PostgreSQL, libraries',
  baseline: { title: 'hand-written pg', name: 'pg.handWritten' },
  clients: [1, 16, 64],
  workloads: {
    write: {
      title: 'SELECT by key, UPDATE by key',
      entries: [
        { title: 'run()', name: 'pg.byRun' },
        { title: 'postgres.js', name: 'postgresJs.awaited' },
        { title: 'postgres.js, pipelined', name: 'postgresJs.pipelined' },
        { title: 'nestjs-cls', name: 'nestjsCls.transactional' },
        { title: 'Kysely, text', name: 'kysely.text' },
        { title: 'Kysely, text, in run()', name: 'kysely.inRunText' },
        { title: 'Kysely, builder', name: 'kysely.builder' },
        { title: 'Kysely, builder, in run()', name: 'kysely.inRunBuilder' },
        { title: 'Drizzle, text', name: 'drizzle.text' },
        { title: 'Drizzle, text, in run()', name: 'drizzle.inRunText' },
        { title: 'Drizzle, builder', name: 'drizzle.builder' },
        { title: 'Drizzle, builder, in run()', name: 'drizzle.inRunBuilder' },
        { title: 'TypeORM with typeorm-transactional, text', name: 'typeorm.text' },
        { title: 'TypeORM, text, in run()', name: 'typeorm.inRunText' },
        { title: 'TypeORM with typeorm-transactional, entities', name: 'typeorm.entities' },
        { title: 'TypeORM, entities, in run()', name: 'typeorm.inRunEntities' },
        { title: 'Knex, text', name: 'knex.text' },
        { title: 'Knex, text, in run()', name: 'knex.inRunText' },
        { title: 'Knex, builder', name: 'knex.builder' },
        { title: 'Knex, builder, in run()', name: 'knex.inRunBuilder' },
      ],
    },
  },
};
