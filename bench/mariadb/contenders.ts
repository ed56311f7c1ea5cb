// All ways to do the same transaction on MariaDB.
import type { Way } from '../throughput/slice.ts';
import { byHand } from './by-hand.ts';
import { ours } from './ours.ts';
import type { peers } from './peers.ts';
import type { Workload } from './workload.ts';

export type Make = (url: string) => Way<Workload>;

const own = { ...byHand, ...ours } as const;

export type ContenderName = keyof typeof own | keyof typeof peers;

/** Only whoever is measured loads the libraries of the peers, which are large. */
export async function makerOf(name: ContenderName): Promise<Make> {
  if (name in own) return own[name as keyof typeof own];
  const { peers } = await import('./peers.ts');
  return peers[name as keyof typeof peers];
}
