// A real SMTP server that a test can make refuse, hang and die, and what it has received.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';

/** A mail as the server got it. */
export interface Received {
  readonly to: readonly string[];
  readonly id: string;
  readonly subject: string;
  readonly source: string;
}

/** Recipients whose name begins with `refused` are refused. */
export class MailServer {
  readonly received: Received[] = [];
  /** How many connections were opened. */
  connections = 0;
  /** Called when a mail has come whole; what it returns is awaited before the answer, and an error is the answer. */
  onMail: ((mail: Received) => unknown) | undefined;
  /** Called for each connection; as {@link onMail}. */
  onConnect: (() => unknown) | undefined;
  readonly #server: SMTPServer;

  private constructor(options: SMTPServerOptions) {
    this.#server = new SMTPServer({
      authOptional: true,
      disabledCommands: ['STARTTLS', 'AUTH'],
      logger: false,
      closeTimeout: 50,
      onConnect: (_session, done) => {
        this.connections++;
        answer(this.onConnect, undefined, done);
      },
      onRcptTo: ({ address }, _session, done) => {
        done(address.startsWith('refused') ? refusal('no such user') : undefined);
      },
      onData: (stream, session, done) => {
        let source = '';
        stream.setEncoding('utf8').on('data', (chunk: string) => (source += chunk));
        stream.on('end', () => {
          const mail: Received = {
            to: session.envelope.rcptTo.map(({ address }) => address),
            id: header(source, 'Message-ID'),
            subject: header(source, 'Subject'),
            source,
          };
          answer(this.onMail, mail, (error) => {
            if (error === undefined) this.received.push(mail);
            done(error);
          });
        });
      },
      ...options,
    });
    // Connections that a test cuts.
    this.#server.on('error', () => undefined);
  }

  static async open(options: SMTPServerOptions = {}, port = 0): Promise<MailServer> {
    const server = new MailServer(options);
    await once(server.#server.listen(port, '127.0.0.1'), 'listening');
    return server;
  }

  get port(): number {
    return (this.#server.server.address() as AddressInfo).port;
  }

  get subjects(): string[] {
    return this.received.map(({ subject }) => subject);
  }

  reset(): void {
    this.received.length = 0;
    this.connections = 0;
    this.onMail = undefined;
    this.onConnect = undefined;
  }

  /** Cuts all connections. */
  cut(): void {
    for (const connection of this.#server.connections) {
      (connection as unknown as { _socket: { destroy(): void } })._socket.destroy();
    }
  }

  /** Listens no more, and cuts what is open. */
  async die(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }
}

/** An error with which the server refuses. */
export function refusal(text: string, responseCode = 550): Error {
  return Object.assign(new Error(text), { responseCode });
}

function header(source: string, name: string): string {
  return new RegExp(`^${name}: (.*)$`, 'im').exec(source)?.[1]?.trim() ?? '';
}

function answer<T>(fn: ((value: T) => unknown) | undefined, value: T, done: (error?: Error) => void): void {
  Promise.resolve(value)
    .then(fn)
    .then(
      () => done(undefined),
      (error: Error) => done(error),
    );
}
