import { suite } from '../../support/suite.ts';
import { conform } from '../testing/conform.ts';
import { memorySubject, withInjectedFailures } from './subject.ts';

for (const role of ['volatile', 'recoverable', 'last-resource'] as const) {
  conform(suite(`a ${role} memory store is a data manager`), memorySubject(role));
}
for (const role of ['volatile', 'recoverable'] as const) {
  conform(suite(`a ${role} memory store is one with faults injected`), withInjectedFailures(role));
}
