// What a run must have come across to mean something: each situation that the protocol is made for, counted as it occurs.

/** Each of them must occur in the worlds of simulation.test.ts. */
export const SITUATIONS = [
  // Processes.
  'a process died while its application worked',
  'a process died while it prepared',
  'a process died while it committed in one phase',
  'a process died while it wrote a decision',
  'a process died behind a decision, while the others followed',
  'a process died while it delivered messages',
  'a process died in the middle of a turn, before it sent something',
  'a process died in the middle of a turn, right after it had sent something',
  'a process was paused, and its clock with it',
  'a process was paused for longer than its lease',
  'a process was taken for dead while it lived',
  'the clock of a process jumped forward',
  'the clock of a process jumped back',
  'the clock of a decision store jumped forward',
  'the clock of a decision store jumped back',
  // Servers.
  'a database died with something prepared',
  'a decision store died with a decision on its way',
  'a server was slow',
  // The network.
  'a message landed when nobody waited for it any more',
  'a message landed whose sender was dead',
  'a message was overtaken by a later one',
  'a message that was sent twice landed twice',
  'the answer to PREPARE was lost',
  'the answer to COMMIT PREPARED was lost',
  'the answer to ROLLBACK PREPARED was lost',
  'the answer to COMMIT was lost',
  'the answer to a decision was lost',
  'PREPARE landed behind the rollback',
  // Decisions.
  'a tombstone was first, and a decision came too late',
  'a decision was first, and a tombstone came too late',
  'who was taken for dead tried to decide',
  'who was taken for dead asked for its decision',
  'a fence waited for a decision on its way',
  'a transaction was in doubt',
  'a transaction in doubt turned out to be committed',
  'a transaction in doubt turned out to be aborted',
  'a transaction in doubt could not be found out about any more',
  'a commit was acknowledged before all had followed',
  // Recovery.
  'a recoverer committed what another process had prepared',
  'a recoverer rolled back what another process had prepared',
  'a recoverer found that another one had been faster',
  'a server said that there was no such branch, and there was',
  'a pass of recovery reached everybody, and left nothing that it should not',
  'a pass of recovery looked over the branches of another decision store',
  // By hand.
  'an operator decided to commit',
  'an operator decided to abort',
  'an operator ended a branch as it was decided',
  // Retries.
  'a transaction was tried again',
  // The outbox.
  'a message was delivered right after its commit',
  'a message was delivered by another process',
  'a message was delivered twice, and was done once',
  'a delivery failed',
  'a message was kept behind one that had failed',
] as const;

/** One of them. */
export type Situation = (typeof SITUATIONS)[number];

/** How often each has occurred. */
export class Situations {
  readonly counts = new Map<Situation, number>();

  occurred(situation: Situation, times = 1): void {
    this.counts.set(situation, (this.counts.get(situation) ?? 0) + times);
  }
}
