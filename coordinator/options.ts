/** Checks what users pass in: an unknown or impossible option is refused by name, never ignored. */
import { ConfigurationError, describe, list } from './errors.ts';
import type { IsolationLevel, TransactionOptions } from './types.ts';

/** What an option must be: a description for people, and the test of it. */
export interface Rule {
  readonly requires: string;
  readonly accepts: (value: unknown) => boolean;
}

export type Rules<T> = { readonly [K in keyof Required<T>]: Rule };

/** The isolation levels in ascending strength. */
export const ISOLATION_LEVELS: readonly IsolationLevel[] = [
  'read uncommitted',
  'read committed',
  'repeatable read',
  'serializable',
];

/** A rule that accepts the given values. */
export function oneOf(...values: readonly unknown[]): Rule {
  return {
    requires: `one of ${list(values.map((value) => (typeof value === 'string' ? `'${value}'` : String(value))))}`,
    accepts: (value) => values.includes(value),
  };
}

export const aBoolean: Rule = { requires: 'true or false', accepts: (value) => typeof value === 'boolean' };
export const aString: Rule = { requires: 'a string', accepts: (value) => typeof value === 'string' };
export const aFunction: Rule = { requires: 'a function', accepts: (value) => typeof value === 'function' };
export const aCount: Rule = {
  requires: 'a whole number of at least 1',
  accepts: (value) => Number.isSafeInteger(value) && (value as number) >= 1,
};
/** Node's timers fire at once for anything longer than 2^31 - 1 milliseconds. */
export const LONGEST_TIMER_MS = 2_147_483_647;
export const aDelay: Rule = {
  requires: `a number of milliseconds above 0 and of at most ${LONGEST_TIMER_MS}`,
  accepts: (value) => typeof value === 'number' && value > 0 && value <= LONGEST_TIMER_MS,
};

/** Whose `run` is called, by its shape: another copy of the package may have made it. */
export const aTransactionCoordinator: Rule = {
  requires: 'a TransactionCoordinator',
  accepts: (value) =>
    typeof value === 'object' &&
    value !== null &&
    ['run', 'context', 'suspend'].every((method) => typeof (value as Record<string, unknown>)[method] === 'function'),
};

export const aDecisionLog: Rule = {
  requires: 'a decision log, such as new PgDecisionLog(session)',
  accepts: (value) =>
    typeof value === 'object' &&
    value !== null &&
    ['open', 'decide', 'settle'].every((method) => typeof (value as Record<string, unknown>)[method] === 'function'),
};

/** The options of recovery, or false. */
export const recoveryRule: Rule = {
  requires: 'false, or an object with the options everyMs, leaseMs, resources, deliveryAttempts, oldBranchMs, onPass',
  accepts: (value) => {
    if (value === false) return true;
    checkOptions('recovery', value, recoveryRules);
    return true;
  },
};

const recoveryRules = {
  everyMs: aDelay,
  leaseMs: aDelay,
  resources: { requires: 'an array of resources', accepts: Array.isArray },
  deliveryAttempts: aCount,
  oldBranchMs: aDelay,
  onPass: aFunction,
};

const aSignal: Rule = {
  requires: 'an AbortSignal',
  accepts: (value) =>
    typeof value === 'object' &&
    value !== null &&
    typeof (value as AbortSignal).addEventListener === 'function' &&
    typeof (value as AbortSignal).aborted === 'boolean',
};

export const transactionRules: Rules<TransactionOptions> = {
  isolation: oneOf(...ISOLATION_LEVELS),
  readOnly: aBoolean,
  deferrable: aBoolean,
  timeoutMs: aDelay,
  signal: aSignal,
  note: aString,
  user: aString,
  explicit: aBoolean,
};

/**
 * Checks `options` against `rules`; `undefined` counts as absent.
 *
 * An option that is inherited is refused: it would be read in some places and not in others. And nobody has asked for what comes from
 * `Object.prototype`: a stranger has written to it (prototype pollution), by whatever hole of another library. Nothing is switched on by that.
 *
 * @throws ConfigurationError naming the option, what it must be and what came.
 */
export function checkOptions(where: string, options: unknown, rules: Readonly<Record<string, Rule>>): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new ConfigurationError(`${where} takes an object of options, not ${describe(options)}`);
  }
  // Inherited ones too.
  for (const key in options) {
    const rule = Object.hasOwn(rules, key) ? rules[key] : undefined;
    if (!Object.hasOwn(options, key)) {
      if (rule === undefined) continue;
      const from = Object.hasOwn(Object.prototype, key)
        ? 'Object.prototype, which somebody has written to'
        : 'its prototype';
      throw new ConfigurationError(
        `${where}: an option must be the object's own; '${key}' comes from ${from}, so nothing is done`,
      );
    }
    const value = (options as Record<string, unknown>)[key];
    if (rule === undefined) {
      throw new ConfigurationError(`${where} has no option ${describe(key)}; it has ${list(Object.keys(rules))}`);
    }
    if (value !== undefined && !rule.accepts(value)) {
      throw new ConfigurationError(`${where}: the option '${key}' must be ${rule.requires}, not ${describe(value)}`);
    }
  }
}

const NOTHING: object = Object.freeze(Object.create(null) as object);

/**
 * An object that inherits nothing, so that nothing is there which wasn't asked for. Its prototype is an empty object rather than null: V8 reads an
 * object without a prototype slowly.
 */
export function bare<T extends object>(own: T): T {
  return Object.assign(Object.create(NOTHING) as T, own);
}

/** What `begin()` without options has. */
export const NO_OPTIONS: TransactionOptions = Object.freeze(bare({}));
