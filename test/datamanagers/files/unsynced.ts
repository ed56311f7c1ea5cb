// Run by odd-places.test.ts, and then nobody: renames a file in a folder that can't be opened, and says what that ended with.
import { transaction } from 'unanimous';
import { FileSession } from 'unanimous/files';

const [root] = process.argv.slice(2) as [string];
const files = new FileSession({ root });

// Now that everything is loaded: where the sources are others may not be let in.
const nobody = 65_534;
process.setgroups!([]);
process.setgid!(nobody);
process.setuid!(nobody);

const outcome = await transaction
  .run(() => files.rename('blind/a', 'blind/b'))
  .then(
    () => 'committed',
    (error: Error) => `${error.message} ${String(error.cause)}`,
  );
console.log(outcome);
