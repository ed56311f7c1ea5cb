// The behaviour of unanimous/nest, over either platform.
//
// Nest's decorators are called as functions: they aren't those of the language, which is what this project's tests are compiled with.
import 'reflect-metadata';
import type { IncomingMessage, Server } from 'node:http';
import {
  All,
  type ArgumentsHost,
  Catch,
  Controller,
  type INestApplication,
  Module,
  Req,
  Res,
  StreamableFile,
  type Type,
  UseInterceptors,
} from '@nestjs/common';
import { TransactionInterceptor, TransactionModule } from 'unanimous/nest';
import type { Transaction } from 'unanimous';
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
