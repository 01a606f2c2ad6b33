import { RetryPolicy, Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Schedule, Schema } from "effect"
import { Mailer, SmtpError } from "./mailer.js"

export const SendEmail = Task.make("SendEmail", {
  description: "Sends one e-mail",
  payload: { to: Schema.String, subject: Schema.String },
  success: Schema.Struct({ messageId: Schema.String }),
  error: SmtpError,
  retry: Schedule.exponential("200 millis").pipe(
    Schedule.jittered,
    Schedule.intersect(Schedule.recurs(4)),
    Schedule.whileInput((failure: Task.Failure<SmtpError>) => failure._tag !== "SmtpError" || failure.code >= 500)
  ),
  timeout: "10 seconds",
  priority: "high",
  maxConcurrency: 5,
  tags: ["mail"]
})

export const Digest = Task.make("Digest", {
  payload: { day: Schema.String },
  retry: RetryPolicy.make({ retries: 3, delay: "1 second", backoff: 2 })
})

export const Mail = TaskGroup.make(SendEmail, Digest)

// One handler per task, or all at once; services that a handler needs stay in the Layer's requirements.
export const SendEmailLive = SendEmail.toLayer(({ subject, to }) =>
  Effect.gen(function* () {
    const mailer = yield* Mailer
    const messageId = yield* mailer.send(to, subject) // fails with SmtpError
    yield* Effect.log("sent").pipe(Effect.annotateLogs({ messageId })) // captured in the run's log
    return { messageId }
  })
)
export const DigestLive = Digest.toLayer(({ day }) => Effect.log(`digest of ${day}`))
