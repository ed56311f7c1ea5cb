// npm run example:service: a service whose requests are transactions, under load, on servers of its own.
import type { AddressInfo } from 'node:net';
import { showFindings } from '../support/findings.ts';
import { startEmbeddedPostgres } from '../support/postgres.ts';
import { type EmbeddedRedis, startRedis } from '../support/redis.ts';
import { Smtp } from '../support/smtp.ts';
import { Progress, heading, paint, say, table } from '../support/terminal.ts';
import { ServerUnavailable } from '../support/unavailable.ts';
import { checkInvariants, settled } from './invariants.ts';
import { load } from './load.ts';
import { Outside } from './outside.ts';
import { openService } from './service.ts';

const ORDERS = 400;

process.once('exit', (code) => {
  if (code === 130) say('\ninterrupted: the servers are stopped and their folders removed');
});

async function redisIfAny(): Promise<EmbeddedRedis | undefined> {
  try {
    return await startRedis({ flags: ['--appendonly', 'yes', '--appendfsync', 'always'] });
  } catch (error) {
    if (!(error instanceof ServerUnavailable)) throw error;
    say(`  ${paint('yellow', 'without Redis')}: ${error.message}`);
    return undefined;
  }
}

heading('unanimous: a Fastify and Kysely service, each request of which is one transaction');
const startedAt = performance.now();
const [postgres, redis, smtp] = await Promise.all([
  // Orders that wait for each other in a circle are found sooner than by default.
  startEmbeddedPostgres({ databases: ['orders'], settings: { deadlock_timeout: '100ms' } }),
  // What it has answered is to be there when it is started again.
  redisIfAny(),
  Smtp.start(),
]);
const places = { ORDERS_URL: postgres.url('orders'), CACHE_URL: redis?.url, SMTP_URL: smtp.url };
const outside = new Outside(places.ORDERS_URL, places.CACHE_URL);
try {
  say(`  servers of its own have started in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  for (const [name, place] of Object.entries(places)) say(`    ${name.padEnd(13)}  ${paint('dim', place ?? 'none')}`);
  await outside.open();
  const service = await openService(places);
  await service.app.listen({ port: 0, host: '127.0.0.1' });
  try {
    heading(`${ORDERS} orders, some of them too large, for nobody, or by clients that go away`);
    const progress = new Progress(ORDERS);
    const { port } = service.app.server.address() as AddressInfo;
    const tally = await load(port, ORDERS, (done) => progress.show(done, 'answered or given up'));
    progress.end();
    const count = (seen: string): number => [...tally.values()].filter((each) => each === seen).length;
    const stored = await settled(outside, smtp.subjects);
    table([
      ['placed', count('placed'), 'status 201, which is sent when everything is committed'],
      ['too few', count('too few'), 'status 409: what was taken of other articles went back'],
      ['failed', count('failed'), 'a handler that threw, or a customer that was missed at the commit'],
      ['gone', count('gone'), 'the client did not wait: rolled back, unless it was decided already'],
    ]);
    const verdict = 'Every order is complete, or isn’t there.';
    process.exitCode = showFindings(checkInvariants(tally, stored, smtp.subjects, service), verdict) ? 0 : 1;
  } finally {
    await service.close();
  }
} finally {
  await outside.close();
  await Promise.all([postgres.stop(), redis?.stop(), smtp.stop()]);
}
