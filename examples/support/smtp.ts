// An SMTP server in this process, for the examples: it takes every mail, but for recipients whose name begins with `refused`.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';

/** A running server, and what it has taken. */
export class Smtp {
  /** The subjects of the mails, in the order in which they came. */
  readonly subjects: string[] = [];
  #server: SMTPServer;
  #port = 0;

  private constructor() {
    this.#server = this.#make();
  }

  static async start(): Promise<Smtp> {
    const smtp = new Smtp();
    await smtp.resume();
    return smtp;
  }

  get url(): string {
    return `smtp://127.0.0.1:${this.#port}`;
  }

  /** Takes connections again, on the same port. */
  async resume(): Promise<void> {
    await once(this.#server.listen(this.#port, '127.0.0.1'), 'listening');
    this.#port = (this.#server.server.address() as AddressInfo).port;
  }

  /** Takes no more connections, as though there was no server. */
  async pause(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server = this.#make();
  }

  async stop(): Promise<void> {
    await this.pause();
  }

  #make(): SMTPServer {
    const server = new SMTPServer({
      authOptional: true,
      disabledCommands: ['STARTTLS', 'AUTH'],
      logger: false,
      closeTimeout: 100,
      onRcptTo: ({ address }, _session, done) => {
        done(address.startsWith('refused') ? Object.assign(new Error('no such user'), { responseCode: 550 }) : null);
      },
      onData: (stream, _session, done) => {
        let source = '';
        stream.setEncoding('utf8').on('data', (chunk: string) => (source += chunk));
        stream.on('end', () => {
          this.subjects.push(/^Subject: (.*?)\r?$/m.exec(source)?.[1] ?? '');
          done();
        });
      },
    });
    // A connection that the client has cut.
    server.on('error', () => undefined);
    return server;
  }
}
