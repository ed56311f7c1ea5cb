import { Redis } from 'ioredis';
import { CommitOutcomeUnknownError, register, transaction } from 'unanimous';
import { RedisSession } from 'unanimous/redis';
import { tcpProxy } from '../../support/proxy.ts';
import { startRedis } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { MASTER_NAME, startSentinel } from './sentinel.ts';
import { onText, rejection } from './setup.ts';

const test = suite('a Redis session behind a sentinel', { timeoutMs: 120_000 });

const soon = ['--repl-diskless-sync-delay', '0'];
const master = await startRedis({ flags: soon });
const replica = await startRedis({ flags: [...soon, '--replicaof', '127.0.0.1', String(master.port)] });
const sentinel = await startSentinel(master.port);
const proxy = await tcpProxy(master.port);
const client = new Redis({
  sentinels: [{ host: '127.0.0.1', port: sentinel.port }],
  name: MASTER_NAME,
  natMap: { [`127.0.0.1:${master.port}`]: { host: '127.0.0.1', port: proxy.port } },
  lazyConnect: true,
});
const session = register(
  // A sentinel that had to wait for its turn for two seconds mistrusts its clock, and does nothing for half a minute.
  new RedisSession(client, { endTimeoutMs: 500, resolveTimeoutMs: 60_000, acquireTimeoutMs: 10_000 }),
);
const onSentinel = new Redis(sentinel.port);
const onReplica = new Redis(replica.port);
test.after(async () => {
  await session.close();
  for (const each of [client, onSentinel, onReplica]) each.disconnect();
  await proxy.close();
  for (const each of [sentinel, replica, master]) await each.stop();
});

/** Waits until the sentinel knows the replica, and the replica has what the master has. */
async function inStep(): Promise<void> {
  await assert.eventually(async () => {
    const said = await onReplica.info('replication');
    return said.includes('master_link_status:up') || said.includes('role:master');
  }, 60_000);
  await assert.eventually(async () => {
    const replicas = (await onSentinel.call('SENTINEL', 'REPLICAS', MASTER_NAME)) as string[][];
    return replicas.some((each) => each[each.indexOf('port') + 1] === String(replica.port));
  }, 60_000);
}

test('works on the master that the sentinel knows', async () => {
  await inStep();
  await session.check();
  await transaction.run(async () => {
    await session.watch('k');
    assert.is(await session.get('k'), null);
    session.set('k', '1');
  });
  await assert.eventually(async () => (await onReplica.get('k')) === '1');
});

test('an EXEC whose reply is lost while another master is chosen is found where it was replicated to', async () => {
  await transaction.run(() => session.get('k'));
  onText(proxy, 'unanimous:token', (link) => {
    link.dropReplies = true;
    // Long enough for the replica to have it.
    setTimeout(() => void master.kill('SIGKILL'), 200);
  });
  await transaction.run(() => session.set('k', '2'));
  assert.is(await onReplica.get('k'), '2');
});

test('transactions go on at the new master', async () => {
  await assert.eventually(async () => {
    await transaction.run(async () => {
      await session.watch('k');
      session.incr('n');
    });
    return (await onReplica.get('n')) === '1';
  }, 60_000);
  await session.check();
});

test('an EXEC that another master knows nothing of is not known to have been run, or not', async () => {
  await master.restart();
  // The old master comes back as a replica. A sentinel would see to that, in its own time.
  const onMaster = new Redis(master.port);
  await onMaster.call('REPLICAOF', '127.0.0.1', String(replica.port));
  await assert.eventually(async () => (await onMaster.info('replication')).includes('master_link_status:up'), 60_000);
  const through = await tcpProxy(replica.port);
  const own = new Redis({
    sentinels: [{ host: '127.0.0.1', port: sentinel.port }],
    name: MASTER_NAME,
    natMap: { [`127.0.0.1:${replica.port}`]: { host: '127.0.0.1', port: through.port } },
    lazyConnect: true,
  });
  const other = register(
    new RedisSession(own, { name: 'other', endTimeoutMs: 500, resolveTimeoutMs: 10_000, acquireTimeoutMs: 10_000 }),
  );
  await transaction.run(() => other.get('k'));
  onText(through, 'unanimous:token', () => {
    void replica.kill('SIGKILL');
    return false;
  });
  const error = await rejection(transaction.run(() => other.set('k', '3'), { attempts: 1 }));
  assert.instance(error, CommitOutcomeUnknownError);
  assert.is(await onMaster.get('k'), '2');
  await other.close();
  for (const each of [own, onMaster]) each.disconnect();
  await through.close();
});
