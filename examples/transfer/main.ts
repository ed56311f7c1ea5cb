// npm start: transfers over two real databases while things go wrong, and a look at what is left afterwards.
import { startEmbeddedPostgres } from '../support/postgres.ts';
import { heading, paint, say } from '../support/terminal.ts';

process.once('exit', (code) => {
  if (code === 130) say('\ninterrupted: PostgreSQL is stopped and its folder removed');
});

heading('unanimous: transfers over two PostgreSQL databases');
const startedAt = performance.now();
const server = await startEmbeddedPostgres({
  databases: ['bank', 'audit'],
  // PostgreSQL looks for deadlocks after a second, which would be a long time to watch.
  settings: { deadlock_timeout: '20ms' },
});
try {
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  say(`  a PostgreSQL of its own has started in ${seconds} s, with the databases`);
  for (const database of ['bank', 'audit']) say(`    ${database.padEnd(5)}  ${paint('dim', server.url(database))}`);

  process.env['BANK_URL'] = server.url('bank');
  process.env['AUDIT_URL'] = server.url('audit');
  // Imported now, because transfer.ts opens its pools when it is imported.
  const { show } = await import('./show.ts');
  process.exitCode = (await show()) ? 0 : 1;
} finally {
  await server.stop();
}
