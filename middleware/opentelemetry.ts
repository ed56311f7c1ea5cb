/** Spans and metrics of transactions for OpenTelemetry. */
import {
  type Attributes,
  type Context,
  type Meter,
  type Span,
  SpanStatusCode,
  type Tracer,
  context,
  metrics,
  trace,
} from '@opentelemetry/api';
import { observe } from '../coordinator/events.ts';
import type { Transaction } from '../coordinator/transaction.ts';

/** Where spans and metrics go. */
export interface InstrumentOptions {
  /** Default: that of the global tracer provider, under the name `unanimous`. `false` for no spans. */
  tracer?: Tracer | false | undefined;
  /** Default: that of the global meter provider, under the name `unanimous`. `false` for no metrics. */
  meter?: Meter | false | undefined;
}

const NAME = 'unanimous';

/**
 * Makes spans and metrics of the transactions of this process, until the function is called that it returns.
 *
 * A transaction is a span `transaction`, a child of what was active when it began; its votes, its decision and its finishing are children
 * of it. Statements are not: those of an instrumented driver are children of what was active when they were sent.
 */
export function instrument(options: InstrumentOptions = {}): () => void {
  const stops = [
    ...(options.tracer === false ? [] : [traceWith(options.tracer ?? trace.getTracer(NAME))]),
    ...(options.meter === false ? [] : [measureWith(options.meter ?? metrics.getMeter(NAME))]),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

/** A name of the attributes, as OpenTelemetry's conventions write them. */
const RESOURCE = 'unanimous.resource';
const WAY = 'unanimous.transaction.way';
const OUTCOME = 'unanimous.transaction.outcome';
const ERROR_TYPE = 'error.type';

function traceWith(tracer: Tracer): () => void {
  const spans = new WeakMap<Transaction, { readonly span: Span; readonly inside: Context; resources: string[] }>();

  /** A step that is over: its span began when it did. */
  const step = (
    txn: Transaction,
    name: string,
    attributes: Attributes,
    { durationMs, error }: { readonly durationMs: number; readonly error?: Error },
  ): void => {
    const open = spans.get(txn);
    if (open === undefined) return;
    const endTime = Date.now();
    const span = tracer.startSpan(name, { startTime: endTime - durationMs, attributes }, open.inside);
    if (error !== undefined) fail(span, error);
    span.end(endTime);
  };

  const end = (txn: Transaction, outcome: string, error: Error | undefined): void => {
    const open = spans.get(txn);
    if (open === undefined) return;
    spans.delete(txn);
    open.span.setAttributes({
      'unanimous.transaction.id': txn.id,
      'unanimous.transaction.resources': open.resources,
      [OUTCOME]: outcome,
      ...(txn.way === undefined ? {} : { [WAY]: txn.way }),
      ...(txn.attempt === 1 ? {} : { 'unanimous.transaction.attempt': txn.attempt }),
      ...(txn.description === '' ? {} : { 'unanimous.transaction.note': txn.description }),
    });
    if (error !== undefined) fail(open.span, error);
    open.span.end();
  };

  return observe({
    begin({ transaction }) {
      const around = context.active();
      const span = tracer.startSpan('transaction', {}, around);
      spans.set(transaction, { span, inside: trace.setSpan(around, span), resources: [] });
    },
    join: ({ transaction, resource }) => void spans.get(transaction)?.resources.push(resource),
    vote: (event) =>
      step(
        event.transaction,
        `vote ${event.resource}`,
        { [RESOURCE]: event.resource, ...(event.vote === undefined ? {} : { 'unanimous.vote': event.vote }) },
        event,
      ),
    decide: (event) => step(event.transaction, 'decide', {}, event),
    finish: (event) => step(event.transaction, `finish ${event.resource}`, { [RESOURCE]: event.resource }, event),
    retry: ({ transaction, error }) =>
      spans
        .get(transaction)
        ?.span.addEvent('retry', { [ERROR_TYPE]: typeOf(error), 'exception.message': error.message }),
    commit: ({ transaction }) => end(transaction, 'committed', undefined),
    abort: ({ transaction, error }) => end(transaction, 'aborted', error),
    'in-doubt': ({ transaction, error }) => end(transaction, 'in doubt', error),
  });
}

function fail(span: Span, error: Error): void {
  span.recordException(error);
  span.setAttribute(ERROR_TYPE, typeOf(error));
  span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
}

/** The stable code of an error where it has one: few values, as an attribute must have. */
function typeOf(error: Error): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : error.name;
}

function measureWith(meter: Meter): () => void {
  const duration = meter.createHistogram('unanimous.transaction.duration', {
    unit: 's',
    description: 'from begin to the end of a transaction',
  });
  const open = meter.createUpDownCounter('unanimous.transaction.open', {
    unit: '{transaction}',
    description: 'transactions that have begun and not ended',
  });
  const retries = meter.createCounter('unanimous.transaction.retries', {
    unit: '{attempt}',
    description: 'attempts that have failed and were followed by another',
  });
  const steps = meter.createHistogram('unanimous.resource.duration', {
    unit: 's',
    description: 'how long the vote or the finish of a resource took',
  });
  const decisions = meter.createHistogram('unanimous.decision.duration', {
    unit: 's',
    description: 'how long it took to write a decision down',
  });
  const warnings = meter.createCounter('unanimous.transaction.warnings', {
    unit: '{transaction}',
    description: 'transactions that were open or idle for too long',
  });
  const passes = meter.createHistogram('unanimous.recovery.duration', {
    unit: 's',
    description: 'how long a pass of recovery took',
  });
  const recovered = meter.createCounter('unanimous.recovery.branches', {
    unit: '{branch}',
    description: 'prepared branches that recovery has ended',
  });
  const left = meter.createGauge('unanimous.recovery.left', {
    unit: '{branch}',
    description: 'branches that were prepared after the last pass of recovery',
  });

  // A transaction counts as open for as long as it was seen to begin.
  const begun = new WeakSet<Transaction>();
  const end = (txn: Transaction, durationMs: number | undefined, outcome: string, error?: Error): void => {
    if (begun.delete(txn)) open.add(-1);
    if (durationMs === undefined) return;
    duration.record(durationMs / 1000, {
      [OUTCOME]: outcome,
      ...(txn.way === undefined ? {} : { [WAY]: txn.way }),
      ...(error === undefined ? {} : { [ERROR_TYPE]: typeOf(error) }),
    });
  };
  const step = (operation: string, event: { resource: string; durationMs: number; error?: Error }): void =>
    steps.record(event.durationMs / 1000, {
      [RESOURCE]: event.resource,
      'unanimous.operation': operation,
      ...(event.error === undefined ? {} : { [ERROR_TYPE]: typeOf(event.error) }),
    });

  return observe({
    begin({ transaction }) {
      begun.add(transaction);
      open.add(1);
    },
    commit: ({ transaction, durationMs }) => end(transaction, durationMs, 'committed'),
    abort: ({ transaction, durationMs, error }) => end(transaction, durationMs, 'aborted', error),
    'in-doubt': ({ transaction, durationMs, error }) => end(transaction, durationMs, 'in doubt', error),
    retry: ({ error }) => retries.add(1, { [ERROR_TYPE]: typeOf(error) }),
    vote: (event) => step('vote', event),
    finish: (event) => step('finish', event),
    decide: ({ durationMs, error }) =>
      decisions.record(durationMs / 1000, error === undefined ? {} : { [ERROR_TYPE]: typeOf(error) }),
    warning: ({ kind }) => warnings.add(1, { 'unanimous.warning': kind }),
    recovery({ durationMs, report, error }) {
      passes.record(durationMs / 1000, error === undefined ? {} : { [ERROR_TYPE]: typeOf(error) });
      if (report === undefined) return;
      if (report.committed.length > 0) recovered.add(report.committed.length, { [OUTCOME]: 'committed' });
      if (report.rolledBack.length > 0) recovered.add(report.rolledBack.length, { [OUTCOME]: 'aborted' });
      left.record(report.left.length);
    },
  });
}
