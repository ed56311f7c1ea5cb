/** `unanimous/nest`: a transaction for each request of Nest 11, over Express or Fastify. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type CallHandler,
  type CustomDecorator,
  type DynamicModule,
  type ExecutionContext,
  Injectable,
  Module,
  type ModuleMetadata,
  type NestInterceptor,
  type Provider,
  SetMetadata,
  StreamableFile,
  createParamDecorator,
} from '@nestjs/common';
import { APP_INTERCEPTOR, Reflector } from '@nestjs/core';
import { type Observable, from, lastValueFrom } from 'rxjs';
import type { Transaction } from '../coordinator/transaction.ts';
import { collect } from './node/collect.ts';
import { Exchange, TM_HEADER } from './node/exchange.ts';
import { type RequestOptions, type Settings, settingsOf } from './options.ts';
import { type Answer, takesPart } from './request.ts';

export type { RequestOptions } from './options.ts';

/**
 * Options of {@link TransactionModule}. Request and response are the platform's: Express's, or Fastify's request and reply; annotate the
 * functions with the one that you use.
 */
// The platform is chosen by the application, and its types with it.
// oxlint-disable-next-line typescript/no-explicit-any
export type NestOptions = RequestOptions<any, any>;

/** The token under which the options are provided. */
export const TRANSACTION_OPTIONS: unique symbol = Symbol('unanimous.options');

const SKIPS = 'unanimous:skip';
/** Nest's own, which it doesn't export. */
const SSE = '__sse__';

/** Decorates a controller or a handler that is to have no transaction. */
export const SkipTransaction = (): CustomDecorator => SetMetadata(SKIPS, true);

/** Decorates a parameter of a handler: the transaction of this request, or of this attempt at it; undefined where it has none. */
export const CurrentTransaction: () => ParameterDecorator = createParamDecorator(
  (_data: unknown, context: ExecutionContext) => context.switchToHttp().getRequest<{ tm?: Transaction }>().tm,
);

/** A response of Express, or a reply of Fastify. */
interface Platform {
  readonly raw?: ServerResponse;
  readonly statusCode: number;
  getHeader(name: string): string | number | readonly string[] | undefined;
  getHeaders(): Record<string, unknown>;
  removeHeader(name: string): unknown;
  header(name: string, value: unknown): unknown;
  code?(status: number): unknown;
}

interface PlatformRequest {
  readonly raw?: IncomingMessage;
  tm?: Transaction | undefined;
}

/**
 * Makes the handler of each HTTP request one transaction, together with the pipes and the interceptors behind this one, and commits it
 * before Nest responds. Guards are called before interceptors: what they refuse has begun no transaction, and what they read has none.
 *
 * Server-sent events, other transports and whatever has {@link SkipTransaction} pass without.
 */
export class TransactionInterceptor implements NestInterceptor {
  readonly #settings: Settings<unknown, unknown>;
  readonly #reflector = new Reflector();

  /** @throws ConfigurationError for unknown or impossible options. */
  constructor(options: NestOptions = {}) {
    this.#settings = settingsOf<unknown, unknown>('TransactionModule', options);
  }

  /** Called by Nest. */
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return this.#isLeftOut(context) ? next.handle() : from(this.#serve(context, next));
  }

  #isLeftOut(context: ExecutionContext): boolean {
    if (context.getType() !== 'http') return true;
    const handler = context.getHandler();
    return (
      this.#reflector.get<boolean | undefined>(SSE, handler) === true ||
      this.#reflector.getAllAndOverride<boolean | undefined>(SKIPS, [handler, context.getClass()]) === true
    );
  }

  async #serve(context: ExecutionContext, next: CallHandler): Promise<unknown> {
    const http = context.switchToHttp();
    const request = http.getRequest<PlatformRequest>();
    const response = http.getResponse<Platform>();
    const req = request.raw ?? (request as unknown as IncomingMessage);
    const res = response.raw ?? (response as unknown as ServerResponse);
    const settings = this.#settings;
    const handle = (): Promise<unknown> => lastValueFrom(next.handle(), { defaultValue: undefined });
    if (takesPart(settings, req) || (await settings.activate?.(request)) === false) return handle();
    const exchange = new Exchange(settings, { request, response, req, res, reset: resetOf(response) });
    let handled: Promise<unknown> = Promise.resolve();
    try {
      await exchange.run((txn, { finish, fail }) => {
        request.tm = txn;
        handled = (async () => {
          const result = await handle();
          return settings.streams === 'buffer' && result instanceof StreamableFile
            ? new StreamableFile(await collect(result.getStream(), settings.maxBufferBytes), result.options)
            : result;
        })();
        handled.then(() => finish(answerOf(response)), fail);
      });
    } catch (error) {
      // Nobody is there to read what a filter would say.
      if (exchange.client.isGone) return undefined;
      throw error;
    }
    if (!settings.exposeHeader && !res.headersSent) response.removeHeader(TM_HEADER);
    // A response of the platform's own that began before the handler has ended.
    return handled;
  }
}

function answerOf(response: Platform): Answer {
  const tm = response.getHeader(TM_HEADER);
  return { status: response.statusCode, tm: tm === undefined ? undefined : String(tm) };
}

/** Fastify keeps status and headers in its reply until it sends; Express sets them where they are reset anyway. */
function resetOf(reply: Platform): () => void {
  if (reply.raw === undefined) return () => undefined;
  const status = reply.statusCode;
  const headers = { ...reply.getHeaders() };
  return () => {
    for (const name of Object.keys(reply.getHeaders())) reply.removeHeader(name);
    for (const [name, value] of Object.entries(headers)) reply.header(name, value);
    reply.code?.(status);
  };
}

/** How the options are made, where that takes other providers. */
export interface TransactionModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  /** Makes them. */
  useFactory: (...dependencies: never[]) => NestOptions | Promise<NestOptions>;
  /** The tokens of what `useFactory` is called with. */
  inject?: readonly (string | symbol | (new (...args: never[]) => unknown))[];
}

/** Import it once, in the root module: {@link TransactionInterceptor} for every handler of the application. */
// oxlint-disable-next-line typescript/no-extraneous-class
export class TransactionModule {
  /** With these options. @throws ConfigurationError for unknown or impossible ones. */
  static forRoot(options: NestOptions = {}): DynamicModule {
    return moduleOf({ provide: TRANSACTION_OPTIONS, useValue: options });
  }

  /** The same with options that other providers are needed for. */
  static forRootAsync({ imports = [], inject = [], useFactory }: TransactionModuleAsyncOptions): DynamicModule {
    return moduleOf({ provide: TRANSACTION_OPTIONS, inject: [...inject], useFactory } as Provider, imports);
  }
}

function moduleOf(options: Provider, imports: NonNullable<ModuleMetadata['imports']> = []): DynamicModule {
  const useFactory = (given: NestOptions): TransactionInterceptor => new TransactionInterceptor(given);
  return {
    module: TransactionModule,
    global: true,
    imports,
    providers: [
      options,
      { provide: TransactionInterceptor, inject: [TRANSACTION_OPTIONS], useFactory },
      { provide: APP_INTERCEPTOR, useExisting: TransactionInterceptor },
    ],
    exports: [TransactionInterceptor, TRANSACTION_OPTIONS],
  };
}

// The decorators of Nest are not those of the language.
Module({})(TransactionModule);
Injectable()(TransactionInterceptor);
