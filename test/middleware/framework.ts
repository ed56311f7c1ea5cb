// What the behaviour suite asks of a framework: to serve routes that are written without it.
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import type { Transaction } from 'unanimous';
import type { RequestOptions } from 'unanimous/http';

/** What a route is asked. */
export interface Asked {
  readonly method: string;
  readonly query: URLSearchParams;
  /** The body, as the framework's parser of JSON has read it. */
  readonly body: unknown;
  /** The transaction, in the framework's own place for it. */
  readonly tm: Transaction | undefined;
  readonly raw: { readonly req: IncomingMessage; readonly res: ServerResponse };
  /** Sets a header at once, by the framework's own means. */
  header(name: string, value: string): void;
}

/** What a route says. */
export interface Said {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly stream?: Readable;
}

/** By path: `/name`, for all methods. */
export type Routes = Readonly<Record<string, (asked: Asked) => Promise<Said>>>;

export type Options = RequestOptions<any, any>;

/** Besides the routes. */
export interface Extras {
  /** An error handler of the application that makes a page with status 200 of every error. */
  readonly forgives?: boolean;
  /** Mounts the middleware once more, inside of itself. */
  readonly again?: Options;
}

export interface Running {
  readonly port: number;
  readonly server: Server;
  close(): Promise<unknown>;
}

export interface Framework {
  serve(routes: Routes, options: Options, extras?: Extras): Promise<Running>;
  /** What the functions among the options get as the request, as node:http knows it. */
  rawOf(request: any): IncomingMessage;
}

/** Listens on a free port. */
export function listening(server: Server, close?: () => Promise<unknown>): Promise<Running> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(running(server, close)));
  });
}

export function running(server: Server, close?: () => Promise<unknown>): Running {
  return {
    port: (server.address() as AddressInfo).port,
    server,
    close: () => {
      const closed = close?.() ?? new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      return closed;
    },
  };
}

/** The route of a path; undefined where there is none. */
export function routeOf(routes: Routes, url: string): Routes[string] | undefined {
  const name = new URL(url, 'http://localhost').pathname.slice(1);
  return Object.hasOwn(routes, name) ? routes[name] : undefined;
}

export function queryOf(url: string): URLSearchParams {
  return new URL(url, 'http://localhost').searchParams;
}

/** The body as a parser of JSON reads it; undefined where there is none. */
export async function readJson(req: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of req.setEncoding('utf8')) text += String(chunk);
  return text === '' ? undefined : JSON.parse(text);
}
