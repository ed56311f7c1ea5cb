// Run by conflicts.test.ts, and then nobody: does one thing in a folder, and says how that ended.
import { chmod } from 'node:fs/promises';
import { transaction } from 'unanimous';
import { FileSession } from 'unanimous/files';

const [action, root, id] = process.argv.slice(2) as [string, string, string];
const files = new FileSession({ root });

// Now that everything is loaded: where the sources are others may not be let in.
process.setgroups!([]);
process.setgid!(Number(id));
process.setuid!(Number(id));

const outcome = await transaction
  .run(async () => {
    if (action === 'write a') return files.writeFile('a', 'changed');
    await files.rename('b', 'c');
    await chmod(root, 0o500);
  })
  .then(
    () => 'committed',
    (error: NodeJS.ErrnoException) => error.code,
  );
console.log(outcome);
