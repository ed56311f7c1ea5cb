/** What keeps recovery from its work at a MySQL or MariaDB server. */
import { ConfigurationError } from '../../coordinator/errors.ts';
import type { ResourceWarning } from '../../coordinator/types.ts';
import { checkRecover } from './check.ts';
import type { Ask } from './out-of-band.ts';

/** A paused process may keep what it has prepared for so long, in seconds, without anybody being warned. */
const LONG_WAIT_SECONDS = 600;

export async function warningsOf(ask: Ask, name: string, preparedWaitSeconds: number): Promise<ResourceWarning[]> {
  const warnings: ResourceWarning[] = [];
  try {
    await checkRecover(ask, name);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    warnings.push({ kind: 'missing-right', message: error.message });
  }
  if (preparedWaitSeconds > LONG_WAIT_SECONDS) {
    const message = `${name} waits for ${preparedWaitSeconds} s (preparedWaitSeconds) for a process that has prepared and says nothing more, where nobody else may close its connection: what it has prepared keeps its locks for that long`;
    warnings.push({ kind: 'long-wait', message });
  }
  return warnings;
}
