// Outlives the process that started it, whatever ends that one (SIGKILL too), and then stops the server and removes its
// folder. Plain JavaScript, so that it starts without a loader.
//
//   node watchdog.mjs FOLDER [PIDFILE]
//
// A server that has a pid file, named as seen from the folder, is asked to end; any other is killed at once.
//
// Standard input says a line for each start of the server, with its process id, 0 when it has ended, and `end` or the
// end of input when it is time.
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const [folder, pidFileName = ''] = process.argv.slice(2);
let pid = 0;

// The end of standard input means that the owner is gone or has stopped; signals to a process group must not end this.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
try {
  for await (const line of createInterface(process.stdin)) {
    if (line === 'end') break;
    pid = Number(line);
  }
} catch {
  // A broken pipe says the same as its end.
}

if (pid > 0) await stopServer();
for (let attempt = 0; existsSync(folder) && attempt < 50; attempt++) {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch {
    // A process of the server still writes there.
    await sleep(20);
  }
}

process.exit();

async function stopServer() {
  if (pidFileName === '') {
    // The server leads its group, and what it started is in there too.
    if (!signal('SIGKILL', -pid)) signal('SIGKILL', pid);
    return;
  }
  // PostgreSQL removes postmaster.pid last of all, which can be seen even while its owner has not reaped it.
  const pidFile = join(folder, pidFileName);
  if (!signal('SIGQUIT', pid)) return;
  for (let waitedMs = 0; existsSync(pidFile) && waitedMs < 5000; waitedMs += 10) await sleep(10);
  if (existsSync(pidFile)) signal('SIGKILL', pid);
}

function signal(name, target) {
  try {
    return process.kill(target, name);
  } catch {
    return false;
  }
}
