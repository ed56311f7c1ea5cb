// An SMTP server, whose address is in SMTP_URL.
import { MailServer } from '../../datamanagers/mail/setup.ts';
import type { Started } from '../setups.ts';

export async function start(): Promise<Started> {
  const server = await MailServer.open();
  return { env: { SMTP_URL: `smtp://127.0.0.1:${server.port}` }, stop: () => server.die() };
}
