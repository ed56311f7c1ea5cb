/** The errors of a connection that is gone, and of a commit that a failed statement stands against. */
import { ConnectionLostError, TransactionError, TransactionStateError } from '../../coordinator/errors.ts';

/** The error of using a connection that is gone because of `cause`, `isCommitting` where a COMMIT was on its way. */
export function connectionLost(name: string, cause: Error, isCommitting: boolean): Error {
  if (cause instanceof TransactionStateError || cause instanceof ConnectionLostError) return cause;
  if (isCommitting) {
    return new TransactionError(
      `a COMMIT must be answered; the connection of '${name}' was lost (${cause.message}) while it was on its way`,
      { cause, resource: name, phase: 'tpcVote' },
    );
  }
  return new ConnectionLostError(
    `a transaction needs the connection that it began on; that of '${name}' is gone (${cause.message}), so the transaction is rolled back`,
    { cause, resource: name },
  );
}

/** The error of a transaction that a statement has ended at the server, of the session `name`. */
export function endedByStatement(name: string): TransactionStateError {
  return new TransactionStateError(
    `a transaction is ended by its coordinator only; a statement on '${name}' has ended it at the server`,
    { resource: name },
  );
}
