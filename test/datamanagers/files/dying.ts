// Run and killed by crash.test.ts: changes files in a folder for ever, or comes as far as the vote and no further. Says what it has
// done, a line each.
import { transaction } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { recording } from '../../coordinator/recording.ts';

const [how, root] = process.argv.slice(2) as ['vote' | 'for ever', string];
const files = new FileSession({ root });
const say = (line: string): void => void process.stdout.write(`${line}\n`);
// Lives as long as the test does that has started it.
process.stdin.on('end', () => process.exit()).resume();

if (how === 'vote') {
  await transaction.run(async (txn) => {
    await files.writeFile('a', 'changed');
    await files.rename('b', 'c');
    await files.writeFile('d', 'new');
    await files.unlink('e');
    const tpcVote = (): Promise<never> => {
      say(txn.id);
      return new Promise(() => undefined);
    };
    txn.join(Object.assign(recording([], '~~~'), { tpcVote }));
  });
}

for (let round = 0; ; round++) {
  const letter = String.fromCharCode('a'.charCodeAt(0) + (round % 26));
  await transaction.run(async () => {
    await files.writeFile('a', letter.repeat(300_000));
    await files.writeFile('b', letter.repeat(300_000));
    await files.rename('c', 'd');
    await files.rename('d', 'c');
  });
  say(letter);
}
