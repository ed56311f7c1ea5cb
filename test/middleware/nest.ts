// The behaviour of unanimous/nest, over either platform.
//
// Nest's decorators are called as functions: they aren't those of the language, which is what this project's tests are compiled with.
import 'reflect-metadata';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import {
  All,
  type ArgumentsHost,
  Catch,
  ConflictException,
  Controller,
  type ExecutionContext,
  Get,
  type INestApplication,
  Module,
  Param,
  Req,
  Res,
  Sse,
  StreamableFile,
  type Type,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { type Observable, of } from 'rxjs';
import { type Transaction, TransientError, transaction } from 'unanimous';
import {
  CurrentTransaction,
  type NestOptions,
  SkipTransaction,
  TransactionInterceptor,
  TransactionModule,
} from 'unanimous/nest';
import type { Database } from '../datamanagers/pg/setup.ts';
import { assert, type Test } from '../support/suite.ts';
import { type Framework, type Options, type Routes, queryOf, routeOf, running } from './framework.ts';

/** Decorates a method's parameters and the method. */
export function decorate(
  type: Type<unknown>,
  name: string,
  method: readonly MethodDecorator[],
  parameters: readonly ParameterDecorator[] = [],
): void {
  const descriptor = Object.getOwnPropertyDescriptor(type.prototype, name)!;
  for (const [index, each] of parameters.entries()) each(type.prototype as object, name, index);
  for (const each of method) each(type.prototype as object, name, descriptor);
}

/** What both platforms have. */
interface Request {
  readonly raw?: IncomingMessage;
  readonly url: string;
  readonly method: string;
  readonly body: unknown;
  readonly tm?: Transaction;
}
interface Response {
  readonly raw?: any;
  status(status: number): unknown;
  header(name: string, value: string): unknown;
}

function controllerOf(routes: Routes, again: Options | undefined): Type<unknown> {
  class Everything {
    async handle(request: Request, response: Response): Promise<unknown> {
      const {
        status = 200,
        headers = {},
        json,
        stream,
      } = await routeOf(routes, request.url)!({
        method: request.method,
        query: queryOf(request.url),
        body: request.body,
        tm: request.tm,
        raw: { req: request.raw ?? (request as unknown as IncomingMessage), res: response.raw ?? response },
        header: (name, value) => void response.header(name, value),
      });
      response.status(status);
      for (const [name, value] of Object.entries(headers)) response.header(name, value);
      if (stream !== undefined) return new StreamableFile(stream);
      return json === undefined ? undefined : JSON.stringify(json);
    }
  }
  Controller()(Everything);
  const inner = again === undefined ? [] : [UseInterceptors(new TransactionInterceptor(again)) as MethodDecorator];
  decorate(Everything, 'handle', [All(':name'), ...inner], [Req(), Res({ passthrough: true })]);
  return Everything;
}

/** Makes a page with status 200 of every error. */
class Forgive {
  catch(error: Error, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse();
    response.status(200).send(error.message);
  }
}
Catch()(Forgive);

export type Create = (module: Type<unknown>) => Promise<INestApplication>;

export async function start(
  create: Create,
  controllers: Type<unknown>[],
  options: Options,
  prepare: (app: INestApplication) => void = () => undefined,
): Promise<ReturnType<typeof running>> {
  class Root {
    readonly isRoot = true;
  }
  Module({ imports: [TransactionModule.forRoot(options)], controllers })(Root);
  const app = await create(Root);
  prepare(app);
  await app.listen(0, '127.0.0.1');
  return running(app.getHttpServer() as Server, () => app.close());
}

export const nestOptions = { logger: false, forceCloseConnections: true } as const;

export function frameworkOf(create: Create): Framework {
  return {
    rawOf: (request: Request) => request.raw ?? (request as unknown as IncomingMessage),
    serve: (routes, options, { forgives, again } = {}) =>
      start(create, [controllerOf(routes, again)], options, (app) => {
        if (forgives === true) app.useGlobalFilters(new Forgive());
      }),
  };
}

/** The tests of Nest's own parts. */
export function nestOnly(test: Test, create: Create, db: Database): void {
  /** Serves one controller until `ask` has been answered. */
  const asking = async (
    controller: Type<unknown>,
    options: NestOptions,
    paths: readonly string[],
    prepare?: (app: INestApplication) => void,
  ): Promise<{ status: number; text: string }[]> => {
    const server = await start(create, [controller], options, prepare);
    try {
      const answers = [];
      for (const path of paths) {
        const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
        answers.push({ status: response.status, text: await response.text() });
      }
      return answers;
    } finally {
      await server.close();
    }
  };
  const insert = (): Promise<unknown> => db.session.query('insert into notes values (1)');
  const count = async (): Promise<number | null> => (await db.admin.query('select id from notes')).rowCount;

  test('guards come before it: one that refuses has begun nothing, and one that reads takes a run of its own', async () => {
    const seen: unknown[] = [];
    class Guarded {
      canActivate(context: ExecutionContext): boolean {
        seen.push(transaction.current);
        return context.switchToHttp().getRequest<Request>().url !== '/refused';
      }
    }
    class Handlers {
      async handle(tm: Transaction): Promise<string> {
        await insert();
        return tm.status;
      }
    }
    Controller()(Handlers);
    decorate(Handlers, 'handle', [All(':name'), UseGuards(new Guarded())], [CurrentTransaction()]);
    const [refused, fine] = await asking(Handlers, {}, ['/refused', '/fine']);
    assert.equal([refused!.status, fine], [403, { status: 200, text: 'active' }]);
    assert.equal(seen, [undefined, undefined]);
    assert.is(await count(), 1);
  });

  test('an HttpException aborts, and an exception filter makes its page', async () => {
    class Handlers {
      async handle(): Promise<never> {
        await insert();
        throw new ConflictException('taken');
      }
    }
    Controller()(Handlers);
    decorate(Handlers, 'handle', [All(':name')]);
    const [answer] = await asking(Handlers, {}, ['/it']);
    assert.is(answer!.status, 409);
    assert.match(answer!.text, /taken/);
    assert.is(await count(), 0);
  });

  test('pipes are in the transaction, and are called again with the handler', async () => {
    const seen: (number | undefined)[] = [];
    class Handlers {
      async handle(name: string): Promise<string> {
        if (transaction.get().attempt === 1) throw new TransientError('again');
        return name;
      }
    }
    Controller()(Handlers);
    const pipe = {
      transform: (value: string): string => {
        seen.push(transaction.current?.attempt);
        return value.toUpperCase();
      },
    };
    decorate(Handlers, 'handle', [All(':name')], [Param('name', pipe)]);
    assert.equal(await asking(Handlers, { attempts: 2, backoff: false }, ['/it']), [{ status: 200, text: 'IT' }]);
    assert.equal(seen, [1, 2]);
  });

  test('SkipTransaction leaves a handler out, and server-sent events are left out by themselves', async () => {
    class Handlers {
      async skipped(tm: Transaction | undefined): Promise<string> {
        return (tm ?? transaction.current)?.id ?? 'none';
      }
      events(): Observable<{ data: string }> {
        return of({ data: transaction.current?.id ?? 'none' });
      }
    }
    Controller()(Handlers);
    decorate(Handlers, 'skipped', [Get('skipped'), SkipTransaction()], [CurrentTransaction()]);
    decorate(Handlers, 'events', [Sse('events')]);
    const [skipped, events] = await asking(Handlers, {}, ['/skipped', '/events']);
    assert.is(skipped!.text, 'none');
    assert.match(events!.text, /data: none/);
  });

  test('a handler that answers by the platform’s own response commits before its first byte', async () => {
    class Handlers {
      async handle(response: Response): Promise<void> {
        await insert();
        const raw = (response.raw ?? response) as ServerResponse;
        (response as { hijack?: () => void }).hijack?.();
        raw.end(transaction.get().status);
      }
    }
    Controller()(Handlers);
    decorate(Handlers, 'handle', [All(':name')], [Res()]);
    assert.equal(await asking(Handlers, {}, ['/it']), [{ status: 200, text: 'active' }]);
    assert.is(await count(), 1);
  });

  test('forRootAsync takes options from other providers', async () => {
    class Handlers {
      async handle(): Promise<string> {
        return transaction.get().description;
      }
    }
    Controller()(Handlers);
    decorate(Handlers, 'handle', [All(':name')]);
    class Root {
      readonly isRoot = true;
    }
    const settings = { provide: 'note', useValue: 'noted' };
    class Settings {
      readonly isSettings = true;
    }
    Module({ providers: [settings], exports: ['note'] })(Settings);
    const useFactory = async (note: string): Promise<NestOptions> => ({ note: () => note });
    const imports = [TransactionModule.forRootAsync({ imports: [Settings], inject: ['note'], useFactory })];
    Module({ imports, controllers: [Handlers] })(Root);
    const app = await create(Root);
    await app.listen(0, '127.0.0.1');
    const server = running(app.getHttpServer() as Server, () => app.close());
    try {
      assert.is(await (await fetch(`http://127.0.0.1:${server.port}/it`)).text(), 'noted');
    } finally {
      await server.close();
    }
  });
}
