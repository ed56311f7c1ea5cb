// nestjs-cls with @nestjs-cls/transactional, in a Nest application without a server.
//
// There is no adapter for pg, so that this is one as its documentation has it: BEGIN, COMMIT and ROLLBACK on a client of the pool.
import { createRequire } from 'node:module';
import type pg from 'pg';
import { SELECT, UPDATE } from '../postgres/workload.ts';
import { simple } from '../throughput/slice.ts';
import { poolOf } from './connect.ts';
import type { Make } from './make.ts';

/** What statements are done with: a client with a transaction, or the pool. */
type Statements = Pick<pg.ClientBase, 'query'>;
type Host = { readonly tx: Statements; withTransaction(work: () => Promise<unknown>): Promise<unknown> };
type Cls = { run(work: () => Promise<unknown>): Promise<unknown> };

const require = createRequire(import.meta.url);
require('reflect-metadata');
const { NestFactory } = require('@nestjs/core') as {
  NestFactory: {
    createApplicationContext(module: object, options: object): Promise<{ get<T>(token: unknown): T }>;
  };
};
const { ClsModule, ClsService } = require('nestjs-cls') as {
  ClsModule: { forRoot(options: object): object };
  ClsService: unknown;
};
const { ClsPluginTransactional, TransactionHost } = require('@nestjs-cls/transactional') as {
  ClsPluginTransactional: new (options: object) => object;
  TransactionHost: unknown;
};

function adapter(connection: pg.Pool): object {
  return {
    connection,
    optionsFactory: (pool: pg.Pool) => ({
      wrapWithTransaction: async (
        _options: unknown,
        work: () => Promise<unknown>,
        setClient: (client: Statements) => void,
      ) => {
        const client = await pool.connect();
        try {
          await client.query('BEGIN');
          setClient(client);
          const result = await work();
          await client.query('COMMIT');
          return result;
        } catch (error) {
          await client.query('ROLLBACK');
          throw error;
        } finally {
          client.release();
        }
      },
      getFallbackInstance: () => pool,
    }),
  };
}

/** The module of the application. */
class Root {
  readonly name: string = 'bench';
}

const transactional: Make = async (url) => {
  const plugin = new ClsPluginTransactional({ adapter: adapter(poolOf(url)) });
  const module = { module: Root, imports: [ClsModule.forRoot({ global: true, plugins: [plugin] })] };
  const application = await NestFactory.createApplicationContext(module, { logger: false });
  const host = application.get<Host>(TransactionHost);
  const cls = application.get<Cls>(ClsService);
  return {
    // A context for each, as its middleware makes one for each request.
    write: simple((id) =>
      cls.run(() =>
        host.withTransaction(async () => {
          await host.tx.query(SELECT, [id]);
          await host.tx.query(UPDATE, [id, 1]);
        }),
      ),
    ),
  };
};

export const makers = { transactional } as const satisfies Record<string, Make>;
