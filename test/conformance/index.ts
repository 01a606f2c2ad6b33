/**
 * The conformance suite: what the runtime promises (see the project's semantics), as tests that every backend passes. The
 * first families speak with broker and store alone, the others go through manager and consumer.
 */

import { describe } from "@effect/vitest"
import { batches } from "./batches.js"
import { callbacks } from "./callbacks.js"
import { cancellation } from "./cancellation.js"
import { cancelling } from "./cancelling.js"
import { claiming } from "./claiming.js"
import { consumer } from "./consumer.js"
import { controls } from "./controls.js"
import { creating } from "./creating.js"
import { delivery } from "./delivery.js"
import { draining } from "./draining.js"
import { editing } from "./editing.js"
import { enqueueing } from "./enqueueing.js"
import { events } from "./events.js"
import { exchanging } from "./exchanging.js"
import { exits } from "./exits.js"
import { extending } from "./extending.js"
import { firing } from "./firing.js"
import { groups } from "./groups.js"
import { type Family, family, type Subject } from "./harness.js"
import { idempotency } from "./idempotency.js"
import { inPlace } from "./inPlace.js"
import { keyedLimits } from "./keyedLimits.js"
import { limits } from "./limits.js"
import { locking } from "./locking.js"
import { locks } from "./locks.js"
import { logs } from "./logs.js"
import { managing } from "./managing.js"
import { membership } from "./membership.js"
import { metrics } from "./metrics.js"
import { operating } from "./operating.js"
import { order } from "./order.js"
import { querying } from "./querying.js"
import { queueing } from "./queueing.js"
import { rateLimiting } from "./rateLimiting.js"
import { rates } from "./rates.js"
import { replacing } from "./replacing.js"
import { retrying } from "./retrying.js"
import { scheduling } from "./scheduling.js"
import { settling } from "./settling.js"
import { shutdown } from "./shutdown.js"
import { streams } from "./streams.js"
import { stuck } from "./stuck.js"
import { supervision } from "./supervision.js"
import { tracing } from "./tracing.js"
import { versions } from "./versions.js"
import { waiting } from "./waiting.js"

const families: Record<string, Family> = {
  "broker: enqueue": enqueueing,
  "broker: claim": claiming,
  "broker: settle": settling,
  "broker: exchange": exchanging,
  "broker: limits": keyedLimits,
  "broker: rates": rates,
  "broker: groups": groups,
  "broker: controls": controls,
  "broker: replace": replacing,
  "broker: edit": editing,
  "broker: extend": extending,
  "broker: cancel": cancelling,
  "broker: schedules": firing,
  "broker: locks": locks,
  store: querying,
  queueing,
  creating,
  idempotency,
  order,
  events,
  exits,
  retrying,
  delivery,
  versions,
  batches,
  limits,
  "rate limiting": rateLimiting,
  schedules: scheduling,
  operating,
  cancellation,
  waiting,
  "in place": inPlace,
  locking,
  logs,
  managing,
  consumer,
  supervision,
  stuck,
  membership,
  callbacks,
  draining,
  shutdown,
  tracing,
  streams,
  metrics
}

/** Declares the whole suite for a backend. Its tests mostly wait, so several run at one time. */
export const conformance = (name: string, subject: Subject): void => declareAll(name, subject, () => true)

/** Declares the families that speak with broker and store alone. */
export const brokerConformance = (name: string, subject: Subject): void =>
  declareAll(name, subject, (title) => title === "store" || title.startsWith("broker:"))

/** The families in which records of runs pass to and fro. */
const ofRecords = new Set([
  "broker: enqueue",
  "broker: claim",
  "broker: settle",
  "broker: exchange",
  "broker: replace",
  "broker: edit",
  "broker: extend",
  "broker: cancel",
  "store",
  "idempotency",
  "exits",
  "retrying",
  "delivery",
  "cancellation",
  "waiting",
  "in place",
  "logs",
  "managing",
  "streams"
])

/** Declares the families for what changes records on their way, and nothing else. */
export const recordConformance = (name: string, subject: Subject): void =>
  declareAll(name, subject, (title) => ofRecords.has(title))

const declareAll = (name: string, subject: Subject, isWanted: (title: string) => boolean): void => {
  describe.concurrent(name, () => {
    for (const [title, declare] of Object.entries(families).filter(([title]) => isWanted(title))) {
      describe(title, () => family(subject, declare))
    }
  })
}
