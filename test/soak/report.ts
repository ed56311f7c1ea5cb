// What a person sees of the soak: a line every few seconds, one for each check, and a table of figures at the end.
import { type Finding, showFindings } from '../../examples/support/findings.ts';
import { heading, number, paint, say, table } from '../../examples/support/terminal.ts';
import { RULES, type Rule } from './checks.ts';
import type { SoakOptions, SoakResult, Watcher } from './soak.ts';
import type { Tally } from './tally.ts';

const SHOWN_BREACHES = 5;

function clock(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return `${String(Math.floor(seconds / 60)).padStart(3)}:${String(seconds % 60).padStart(2, '0')}`;
}

function faultsOnLinks({ mishaps: { cut = 0, refuse = 0, drop = 0, hold = 0 } }: Tally): number {
  return cut + refuse + drop + hold;
}

/** Told while it runs. */
export function watcher(): Watcher {
  return {
    opened({ banks, servers, missing }) {
      say(`  the banks ${banks.join(', ')}${servers.includes('redis') ? ', and counters in Redis' : ''}`);
      for (const reason of missing) say(`  ${paint('yellow', 'left out')}: ${reason}`);
      say();
    },
    goesOn(tally, ms) {
      const { told, mishaps } = tally;
      say(
        `  ${clock(ms)}  ${number(told.committed)} committed, ${number(told.aborted)} aborted, ${number(told['in doubt'])} in doubt, ` +
          `${number(tally.recoveredBranches)} recovered  ` +
          paint(
            'dim',
            `${mishaps.kill ?? 0} kills, ${(mishaps.pause ?? 0) + (mishaps.strand ?? 0)} pauses, ${mishaps.crash ?? 0} crashes, ${faultsOnLinks(tally)} links`,
          ),
      );
    },
    checked({ breaches, transfers, settledMs }) {
      const seconds = (settledMs / 1000).toFixed(1);
      const verdict =
        breaches.length === 0 ? paint('green', 'all rules hold') : paint('red', `${breaches.length} breaches`);
      say(`          at rest after ${seconds} s: ${number(transfers)} transfers in the ledgers, ${verdict}`);
    },
  };
}

export function announce({ seed, recovery, rounds, tellers, atOnce, leaseMs }: SoakOptions): void {
  const totalMs = rounds.reduce((sum, ms) => sum + ms, 0);
  heading(`The bank soak: ${(totalMs / 60_000).toFixed(1)} minutes, seed ${seed}`);
  say(`  ${tellers} tellers with ${atOnce} transfers each at a time, leases of ${leaseMs} ms, decisions in bank a`);
  if (recovery === 'lease-only') {
    say(`  ${paint('yellow', 'recovery trusts leases alone')}: this must fail`);
  }
}

/** The figures, and which rules hold; whether all of them do. */
export function conclude({ tally, breaches, checks, evidence }: SoakResult): boolean {
  const { told, ways, resolved, recovered, mishaps } = tally;
  heading('Figures');
  table([
    ['transfers', tally.transfers, 'of which the callers were told how they ended'],
    [
      '  committed',
      told.committed,
      Object.entries(ways)
        .map(([way, count]) => `${number(count)} ${way}`)
        .join(', '),
    ],
    ['  aborted', told.aborted, `${number(tally.thrown)} on purpose, ${number(tally.timedOut)} timed out`],
    [
      '  in doubt',
      told['in doubt'],
      `later resolved: ${resolved.committed} committed, ${resolved.aborted} aborted, ${resolved.unknown} ended by others`,
    ],
    ['  unknown', told.unknown, 'the reply to the commit of one bank was lost, and nobody could say what became of it'],
    [
      'tried again',
      tally.retries,
      `errors of work: ${number(tally.deadlocks)} deadlocks, ${number(tally.lockTimeouts)} waits for locks`,
    ],
    ['committed, not yet followed', tally.pending, 'left to recovery'],
    [
      'recovered branches',
      tally.recoveredBranches,
      `${number(recovered.committed)} committed, ${number(recovered.rolledBack)} rolled back`,
    ],
    ['taken for dead', recovered.fenced, `${number(tally.fencedFound)} times the process was alive, and found out`],
    ['delivered by recovery', recovered.delivered, 'messages of the outbox'],
    ['tellers killed', mishaps.kill ?? 0, 'SIGKILL'],
    ['tellers paused', mishaps.pause ?? 0, 'SIGSTOP, for longer than the lease'],
    [
      'tellers stopped in a commit',
      mishaps.strand ?? 0,
      'SIGSTOP when all is prepared, or decided; half of them killed then',
    ],
    ['servers killed', mishaps.crash ?? 0, 'SIGKILL, of all their processes'],
    [
      'faults on links',
      faultsOnLinks(tally),
      `${mishaps.cut ?? 0} cut, ${mishaps.refuse ?? 0} refused, ${mishaps.drop ?? 0} without replies, ${mishaps.hold ?? 0} held`,
    ],
    [
      'decisions lost on the way',
      mishaps['lose decision'] ?? 0,
      'half of them, or else only the answers; then no way to bank a',
    ],
    [
      'checks',
      checks.length,
      `longest wait until nothing was left: ${(Math.max(...checks.map((each) => each.settledMs)) / 1000).toFixed(1)} s`,
    ],
  ]);
  for (const rule of Object.keys(RULES) as Rule[]) {
    const broken = breaches.filter((each) => each.rule === rule);
    if (broken.length === 0) continue;
    say(`\n  ${paint('red', RULES[rule])}`);
    for (const { what } of broken.slice(0, SHOWN_BREACHES)) say(`    ${what}`);
    if (broken.length > SHOWN_BREACHES) say(`    … and ${broken.length - SHOWN_BREACHES} more`);
  }
  const findings = (Object.keys(RULES) as Rule[]).map((rule): Finding => {
    const count = breaches.filter((each) => each.rule === rule).length;
    return { holds: count === 0, what: RULES[rule], seen: count === 0 ? '' : `${number(count)} times not` };
  });
  const holds = showFindings(findings, 'Nothing was half done.');
  if (evidence !== undefined) say(`  The evidence is in ${evidence}`);
  return holds;
}
