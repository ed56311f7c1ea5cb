// Protects the spans and metrics: a transaction is a child of what was active when it began, and its steps are children of it.
import { type Span, SpanStatusCode, context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import {
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  TransactionCoordinator,
  TransientError,
  observe,
} from 'unanimous';
import { instrument } from 'unanimous/opentelemetry';
import { recording } from '../coordinator/recording.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('OpenTelemetry');

const spans = new InMemorySpanExporter();
const tracer = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }).getTracer('test');
const exporter = new InMemoryMetricExporter(AggregationTemporality.DELTA);
const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 2_000_000_000 });
const meterProvider = new MeterProvider({ readers: [reader] });
const meter = meterProvider.getMeter('test');

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
test.after(() => {
  context.disable();
  return meterProvider.shutdown();
});

/** The spans that are made while `work` runs. */
async function traced(work: () => unknown): Promise<ReadableSpan[]> {
  spans.reset();
  const stop = instrument({ tracer, meter: false });
  try {
    await work();
  } finally {
    stop();
  }
  return spans.getFinishedSpans();
}

const coordinator = new TransactionCoordinator();
const quietly = (work: Promise<unknown>): Promise<unknown> => work.catch(() => undefined);
const parentOf = (span: ReadableSpan | undefined): string | undefined => span?.parentSpanContext?.spanId;

test('a transaction is a span, a child of what was active, and its votes and finishes are children of it', async () => {
  let request!: Span;
  const made = await traced(() =>
    tracer.startActiveSpan('request', async (span) => {
      request = span;
      await coordinator.run((txn) => txn.join(recording([], 'bank', { async: true })), { note: 'pay' });
      span.end();
    }),
  );
  assert.equal(
    made.map(({ name }) => name),
    ['vote bank', 'finish bank', 'transaction', 'request'],
  );
  const [vote, finish, transaction] = made;
  assert.is(parentOf(transaction), request.spanContext().spanId);
  assert.is(parentOf(vote), transaction!.spanContext().spanId);
  assert.is(parentOf(finish), transaction!.spanContext().spanId);
  assert.equal(vote!.attributes, { 'unanimous.resource': 'bank', 'unanimous.vote': 'commit' });
  const { 'unanimous.transaction.id': id, ...attributes } = transaction!.attributes;
  assert.match(String(id), /^unanimous:/);
  assert.equal(attributes, {
    'unanimous.transaction.resources': ['bank'],
    'unanimous.transaction.outcome': 'committed',
    'unanimous.transaction.way': 'two-phase',
    'unanimous.transaction.note': 'pay',
  });
});

test('a failed commit has its error, a wanted abort has none, a retry is an event', async () => {
  const failed = await traced(() =>
    quietly(coordinator.run((txn) => txn.join(recording([], 'a', { fails: { tpcVote: new Error('full') } })))),
  );
  assert.equal(
    failed.map(({ name, status, attributes }) => [name, status.code, attributes['error.type']]),
    [
      ['vote a', SpanStatusCode.ERROR, 'Error'],
      ['transaction', SpanStatusCode.ERROR, 'Error'],
    ],
  );
  const [aborted] = await traced(() => coordinator.run(() => coordinator.abort()));
  assert.is(aborted!.status.code, SpanStatusCode.UNSET);
  assert.is(aborted!.attributes['unanimous.transaction.outcome'], 'aborted');
  const [first, second] = await traced(() =>
    coordinator.run(
      (txn) => {
        if (txn.attempt === 1) throw new TransientError('busy');
      },
      { backoff: false },
    ),
  );
  assert.equal(
    first!.events.map(({ name, attributes }) => [name, attributes!['error.type']]),
    [['retry', 'ERR_TXN_TRANSIENT']],
  );
  assert.is(second!.attributes['unanimous.transaction.attempt'], 2);
});

test('metrics: durations by outcome, open transactions back to none, retries, decisions, recovery', async () => {
  const stop = instrument({ tracer: false, meter });
  const decided = new TransactionCoordinator({
    decisionLog: new MemoryDecisionLog(new MemoryDecisionStore()),
    recovery: false,
  });
  const stores = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator: decided }));
  await decided.run(() => stores.forEach((store) => store.set('x', 1)));
  await quietly(
    decided.run(
      () => {
        throw new TransientError('busy');
      },
      { backoff: false, attempts: 2 },
    ),
  );
  await decided.recover();
  await decided.close();
  stop();
  await reader.forceFlush();
  const points = new Map(
    exporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
      .map(({ descriptor, dataPoints }) => [
        descriptor.name,
        dataPoints.map(({ attributes, value }) => ({
          ...attributes,
          value: typeof value === 'object' ? value.count : value,
        })),
      ]),
  );
  assert.equal(Object.fromEntries(points), {
    'unanimous.transaction.duration': [
      { 'unanimous.transaction.outcome': 'committed', 'unanimous.transaction.way': 'two-phase', value: 1 },
      { 'unanimous.transaction.outcome': 'aborted', value: 2 },
    ],
    'unanimous.transaction.open': [{ value: 0 }],
    'unanimous.transaction.retries': [{ 'error.type': 'ERR_TXN_TRANSIENT', value: 1 }],
    'unanimous.resource.duration': [
      { 'unanimous.resource': 'a', 'unanimous.operation': 'vote', value: 1 },
      { 'unanimous.resource': 'b', 'unanimous.operation': 'vote', value: 1 },
      { 'unanimous.resource': 'a', 'unanimous.operation': 'finish', value: 1 },
      { 'unanimous.resource': 'b', 'unanimous.operation': 'finish', value: 1 },
    ],
    'unanimous.decision.duration': [{ value: 1 }],
    'unanimous.recovery.duration': [{ value: 1 }],
    'unanimous.recovery.left': [{ value: 0 }],
  });
});

test('it ends for those that are open, and without it nothing is made', async () => {
  spans.reset();
  const stop = instrument({ tracer, meter: false });
  await coordinator.run(() => stop());
  await coordinator.run(() => undefined);
  assert.equal(spans.getFinishedSpans(), []);
  let heard = 0;
  observe({ begin: () => heard++ })();
  await coordinator.run(() => undefined);
  assert.is(heard, 0);
});

test('without a provider the global one is used, which does nothing until somebody sets it up', async () => {
  const stop = instrument();
  await coordinator.run(() => undefined);
  stop();
  assert.is(trace.getActiveSpan(), undefined);
});
