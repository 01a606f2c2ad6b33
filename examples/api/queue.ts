/* Queue and wait, in an application. */
import { TaskManager } from "@effect-tasks/core"
import { Effect } from "effect"
import { SendEmail } from "./tasks.js"

export const program = Effect.gen(function* () {
  const run = yield* SendEmail.queue(
    { to: "a@example.com", subject: "hi" },
    { delay: "5 seconds", idempotencyKey: "welcome-a" }
  )
  //    ^ TaskRun.Handle<typeof SendEmail>: run.id, run.await, run.poll, run.cancel("why"), run.events
  const many = yield* SendEmail.queueAll([
    { to: "b@example.com", subject: "hi" },
    { to: "c@example.com", subject: "hi" }
  ])
  const { messageId } = yield* SendEmail.queueAndWait({ to: "d@example.com", subject: "hi" }, { timeout: "1 minute" })
  //    ^ fails with SmtpError | TaskTimeout | TaskDefect | TaskCancelled | TaskAborted | … | WaitTimeout, all typed
  const inline = yield* SendEmail.execute({ to: "e@example.com", subject: "hi" }) // in this fiber, through the same pipeline; needs the handler
  const manager = yield* TaskManager.TaskManager
  const page = yield* manager.runs({ task: "SendEmail", state: ["failure"], limit: 50 }) // cursor paging
  const counts = yield* manager.counts({ queue: "default" })
  yield* manager.retry(page.items[0].id) // a new run with retryOf
  return { run, many, messageId, inline, page, counts }
})
