import pg from 'pg';
import { tcpProxy, type TcpProxy } from './proxy.ts';
import { postgres } from './servers.ts';
import { assert, suite } from './suite.ts';

const test = suite('proxy');
const server = await postgres();
let proxy: TcpProxy;
let client: pg.Client;

test.before.each(async () => {
  proxy = await tcpProxy(server.port);
  client = new pg.Client({ connectionString: proxy.url(server.url), query_timeout: 300 });
  client.on('error', () => {});
  await client.connect();
});
test.after.each(async () => {
  await proxy.close();
  await client.end();
});

test('passes everything through, and counts a flight for each round trip', async () => {
  proxy.resetFlights();
  for (let i = 0; i < 3; i++) assert.equal((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
  assert.is(proxy.flights, 3);
});

test('drops the reply to what the server has done', async () => {
  proxy.onClientData = (data, link) => {
    if (data.includes('pg_sleep')) link.dropReplies = true;
  };
  await client.query('SELECT 1');
  await assert.rejects(client.query('SELECT pg_sleep(0)'), { message: 'Query read timeout' });
});

test('cuts the link', async () => {
  const pending = client.query('SELECT pg_sleep(10)');
  setTimeout(() => proxy.cut(), 20);
  await assert.rejects(pending, ({ message }: any) => /ECONNRESET|terminated/.test(message));
});

test('holds, releases and delays', async () => {
  proxy.hold();
  await assert.rejects(client.query('SELECT 1'), { message: 'Query read timeout' });
  proxy.release();
  proxy.delayToServerMs = 40;
  proxy.delayToClientMs = 40;
  const start = performance.now();
  await client.query('SELECT 1');
  assert.ok(performance.now() - start >= 79);
});
