/** What waits in the outbox, what that means, and what to do about it. */
import type { ListedMessage, Outbox } from '../coordinator/index.ts';
import type { Context } from './command.ts';
import { usageError } from './exit.ts';
import { messageId } from './gid.ts';
import { ofStore, openStore } from './survey.ts';
import { age, count, table } from './table.ts';
import { PATIENCE_MS } from './verdict.ts';

/** So many messages are looked at. */
const MESSAGES = 1_000;

/** A message as it waits. */
export interface MessageState {
  readonly id: string;
  readonly message: ListedMessage;
  /** Its place among those of its target that are not dead, from 1; undefined where it is dead. */
  readonly place: number | undefined;
  /** Whether somebody must do something. */
  readonly needsSomebody: boolean;
  /** What it is, in words. */
  readonly reason: string;
  /** What to do; undefined where there is nothing to do. */
  readonly next: string | undefined;
}

export interface OutboxSurvey {
  readonly messages: readonly MessageState[];
  /** Whether there are more than were looked at. */
  readonly isCut: boolean;
}

type Asking = Pick<Context, 'deployment' | 'secrets'>;

/** Looks at the messages of this application. @throws CommandError where the store can't be asked, or has no outbox. */
export async function surveyOutbox({ deployment, secrets }: Asking): Promise<OutboxSurvey> {
  const store = await openStore(deployment, secrets);
  const prefix = `${deployment.app}:${store}:`;
  const listed = await ofStore(deployment, secrets, (log) => outboxOf(log).list(MESSAGES));
  const places = new Map<string, number>();
  const messages = listed
    .filter(({ gid }) => gid.startsWith(prefix))
    .map((message) => {
      const place = message.isDead ? undefined : (places.get(message.target) ?? 0) + 1;
      if (place !== undefined) places.set(message.target, place);
      const error = message.error === undefined ? undefined : secrets.reason(message.error).replaceAll(/\s+/g, ' ');
      return stateOf(Object.assign({}, message, { error }), place);
    });
  return { messages, isCut: listed.length === MESSAGES };
}

/** @throws CommandError where the store has none. */
export function outboxOf({ outbox }: { readonly outbox?: Outbox | undefined }): Outbox {
  if (outbox !== undefined) return outbox;
  throw usageError('the decision log of the configuration has no outbox: nothing is stored with its decisions');
}

function stateOf(message: ListedMessage, place: number | undefined): MessageState {
  const id = messageId(message);
  return { id, message, place, ...judge(id, message, place) };
}

type Judgement = Pick<MessageState, 'needsSomebody' | 'reason' | 'next'>;

function judge(id: string, message: ListedMessage, place: number | undefined): Judgement {
  const { ageMs, attempts, dueInMs, error, isDead, target } = message;
  const fine = (reason: string): Judgement => ({ needsSomebody: false, reason, next: undefined });
  const failed = `failed ${count(attempts, 'time')}, the last time by: ${error ?? 'nothing is known'}`;
  if (isDead) {
    return {
      needsSomebody: true,
      reason: `dead: ${failed}; it is not tried again`,
      next: `once that is mended: npx unanimous outbox retry ${id}; to give it up: npx unanimous outbox drop ${id}`,
    };
  }
  if (attempts > 0) return fine(dueInMs > 0 ? `${failed}; tried again in ${age(dueInMs)}` : `${failed}; due now`);
  if (dueInMs > 0) return fine(`its process delivers it; where that is dead, recovery does in ${age(dueInMs)}`);
  if (place !== 1) return fine('waits behind others of its target');
  if (ageMs < PATIENCE_MS) return fine('due: the next pass of recovery delivers it');
  return {
    needsSomebody: true,
    reason: `due, and nobody has taken it for ${age(ageMs)}: no process runs that delivers to '${target}'`,
    next: `start a process of the application that has '${target}'`,
  };
}

/** The messages, each with what that means below it. */
export function sayMessages(say: Context['say'], messages: readonly MessageState[]): void {
  if (messages.length === 0) return;
  const rows = messages.map(({ id, message: { target, attempts, dueInMs, isDead, ageMs }, place }) => [
    id,
    target,
    place === undefined ? '-' : String(place),
    String(attempts),
    isDead ? 'dead' : dueInMs > 0 ? `in ${age(dueInMs)}` : 'now',
    age(ageMs),
  ]);
  const [head, ...lines] = table(['MESSAGE', 'TARGET', 'PLACE', 'ATTEMPTS', 'NEXT', 'AGE'], rows);
  say(head);
  for (const [index, line] of lines.entries()) {
    const { reason, next } = messages[index]!;
    say(line);
    say(`    ${reason}`);
    if (next !== undefined) say(`    next: ${next}`);
  }
}

/** A message for scripts. */
export function messageJson({ id, message, place, needsSomebody, reason, next }: MessageState): object {
  const { gid, sequence, target, attempts, isDead, error, ageMs, dueInMs, createdAt } = message;
  return {
    id,
    gid,
    number: sequence,
    target,
    place: place ?? null,
    attempts,
    isDead,
    error: error ?? null,
    ageMs: Math.round(ageMs),
    dueInMs: isDead ? null : Math.round(dueInMs),
    createdAt,
    needsSomebody,
    reason,
    next: next ?? null,
  };
}
