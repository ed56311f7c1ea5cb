// Table 1 as a part of what can be measured.
import type { Part } from '../tables.ts';
import { printCoordinator } from './print.ts';
import { type CoordinatorResults, measureCoordinator } from './table.ts';

const SECONDS = { full: 60, quick: 25 } as const;

export const coordinatorPart: Part<CoordinatorResults> = {
  name: 'coordinator',
  table: '1',
  seconds: ({ quick }) => SECONDS[quick ? 'quick' : 'full'],
  measure: async (options) => {
    const result = await measureCoordinator(options);
    options.progress.did(SECONDS[options.quick ? 'quick' : 'full'], 'the coordinator alone');
    printCoordinator(result);
    return result;
  },
  print: printCoordinator,
};
