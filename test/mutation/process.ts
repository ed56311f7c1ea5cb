// A process of mutation testing: loads the sources and the test files, and then runs tests as it is told to by uvu.ts, until the runner goes away.
import { pathToFileURL } from 'node:url';
import { instrumentation, loading, loadingOf, type Plan } from './messages.ts';

process.on('disconnect', () => process.exit());

const plan = JSON.parse(process.env['MUTATION_PLAN'] ?? '') as Plan;
instrumentation.activeMutant = plan.mutant;
for (const source of plan.sources) await import(pathToFileURL(source).href);
await import('../support/suite.ts');
for (const { name, bundle } of plan.files) {
  loading.file = name;
  instrumentation.currentTestId = loadingOf(name);
  await import(pathToFileURL(bundle).href);
}
instrumentation.currentTestId = undefined;
