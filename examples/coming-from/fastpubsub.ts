/*
 * A fleet of three subscriptions: what probes are told before the start, at work, while one connection is lost, and after it is
 * back, and what the shutdown reports. Orders are shipped by a task, so an order that comes twice is shipped once.
 */
import { Backend, Subscription, Task, TaskConsumer, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Data, Effect, Layer, Logger, Schedule, Schema } from "effect"
import { conclude, heading, line, run } from "./report.js"
import * as Topic from "./topic.js"

const names = ["orders", "refunds", "mails"] as const

const Ship = Task.make("Ship", { payload: { order: Schema.String } })

/** What was shipped, and at which delivery of its message the refund was paid. */
const shipped: Array<string> = []
let paidAt = 0

const ShipLive = Ship.toLayer(({ order }) => Effect.sync(() => shipped.push(order)))

const topics = Effect.all({
  orders: Topic.make<string>("orders"),
  refunds: Topic.make<number>("refunds"),
  mails: Topic.make<string>("mails")
})

type Topics = Effect.Effect.Success<typeof topics>

/** When the handler has succeeded the run is in the backend (durable, with one on disk), and the message need not come again. */
const orders = ({ pull }: Topics["orders"]) =>
  Subscription.make("orders", {
    pull,
    handle: (order, { id }) =>
      order === ""
        ? Subscription.drop("an order of nothing")
        : Ship.queue({ order }, { idempotencyKey: { key: id, hold: "1 day" } })
  })

/** The bank is busy the first time: the message is given back, and comes again. */
const refunds = ({ pull }: Topics["refunds"]) =>
  Subscription.make("refunds", {
    pull,
    handle: (_, { deliveries = 1 }) =>
      deliveries === 1
        ? Subscription.retry("the bank is busy")
        : Effect.sync(() => {
            paidAt = deliveries
          }),
    restart: Schedule.spaced("50 millis")
  })

/** One mail never gets through; only the shutdown ends it. */
const mails = ({ pull }: Topics["mails"]) =>
  Subscription.make("mails", { pull, handle: (to) => (to === "nobody" ? Effect.never : Effect.void), maxMessages: 20 })

type Fleet = typeof Subscription.Fleet.Service

/** What the probes say of each subscription. */
const health = (fleet: Fleet) =>
  Effect.map(Effect.all([fleet.alive, fleet.ready]), ([alive, ready]) =>
    names.map((name) => (ready[name] ? "ready" : alive[name] ? "alive, not ready" : "not alive"))
  )

const tellHealth = (when: string, fleet: Fleet) =>
  Effect.tap(health(fleet), (words) =>
    line(
      when,
      words
        .map((word) => word.padEnd(18))
        .join("")
        .trimEnd()
    )
  )

class NeverSo extends Data.TaggedError("NeverSo")<{ readonly what: string }> {
  override get message() {
    return `it did not come about that ${this.what}`
  }
}

/** Waits until something is so, and gives up when it never is. */
const until = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(condition, { until: (isSo) => isSo, schedule: Schedule.spaced("10 millis") }).pipe(
    Effect.timeoutFail({ duration: "5 seconds", onTimeout: () => new NeverSo({ what }) })
  )

/** Two orders of which one comes twice and one is empty, a refund, and two mails. */
const publish = ({ mails, orders, refunds }: Topics) =>
  Effect.all([
    orders.publish("order-1", "a book"),
    orders.publish("order-1", "a book"),
    orders.publish("order-2", "a lamp"),
    orders.publish("order-3", ""),
    refunds.publish("refund-1", 990),
    mails.publish("mail-1", "ada"),
    mails.publish("mail-2", "nobody")
  ])

const isHandled = ({ mails, orders, refunds }: Topics) =>
  Effect.sync(
    () => orders.counts.acked === 4 && shipped.length >= 2 && refunds.counts.acked === 1 && mails.counts.acked === 1
  )

const program = Effect.gen(function* () {
  const topic = yield* topics
  const fleet = yield* Subscription.manager
  yield* fleet.create(orders(topic.orders))
  yield* fleet.create(refunds(topic.refunds))
  yield* fleet.create(mails(topic.mails))

  yield* heading("Health")
  yield* line(
    "",
    names
      .map((name) => name.padEnd(18))
      .join("")
      .trimEnd()
  )
  const before = yield* tellHealth("before the start", fleet)
  yield* fleet.start
  const started = yield* tellHealth("started", fleet)
  yield* publish(topic)
  yield* until("the messages are handled", isHandled(topic))

  yield* topic.refunds.cut
  yield* until(
    "refunds is not ready",
    Effect.map(fleet.ready, ({ refunds }) => !refunds)
  )
  const during = yield* tellHealth("refunds lost its connection", fleet)
  yield* topic.refunds.mend
  yield* until("refunds is ready again", fleet.isReady)
  const after = yield* tellHealth("it is back", fleet)
  const statuses = yield* fleet.status

  yield* heading("Messages")
  for (const { acked, name, nacked, received, restarts } of statuses) {
    yield* line(name, `${received} received, ${acked} acknowledged, ${nacked} given back, ${restarts} restarts`)
  }

  const report = yield* fleet.shutdown("2 seconds")
  yield* heading("Shutdown, within two seconds")
  yield* line("finished", report.drained.join(", "))
  yield* line("interrupted", report.interrupted.map((one) => `${one.messageId} of ${one.subscription}`).join(", "))
  yield* line("left behind", String(report.overran.length))
  const [left, mailsLeft] = [yield* fleet.alive, yield* topic.mails.size]

  const all = (word: string) => names.map(() => word).join()
  yield* conclude([
    ["before the start none is alive", before.join() === all("not alive")],
    ["after the start all are ready", started.join() === all("ready")],
    [
      "without its connection one is alive and not ready, and the others are",
      during.join() === "ready,alive, not ready,ready"
    ],
    ["it connects again by itself", after.join() === all("ready") && topic.refunds.counts.connections === 2],
    ["an order that came twice was shipped once", [...shipped].sort().join() === "a book,a lamp"],
    ["a refund that was given back came again", paidAt === 2],
    [
      "the shutdown names the mail that did not end",
      report.interrupted.map((one) => one.messageId).join() === "mail-2"
    ],
    ["and has given it back", mailsLeft === 1],
    ["after the shutdown the fleet is empty", Object.keys(left).length === 0]
  ])
}).pipe(Effect.scoped)

const Main = TaskConsumer.layer(TaskGroup.make(Ship)).pipe(
  Layer.provide(ShipLive),
  Layer.provideMerge(TaskManager.layer),
  Layer.provide(Backend.layerMemory),
  // the report says it all; the log would say it twice
  Layer.provideMerge(Logger.remove(Logger.defaultLogger))
)

run(Effect.provide(program, Main))
