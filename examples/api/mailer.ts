import { Context, Effect, Layer, Schema } from "effect"

export class SmtpError extends Schema.TaggedError<SmtpError>()("SmtpError", { code: Schema.Number }) {}

/** A service that handlers need; a real one would speak SMTP. */
export class Mailer extends Context.Tag("Mailer")<
  Mailer,
  { readonly send: (to: string, subject: string) => Effect.Effect<string, SmtpError> }
>() {
  static readonly Live = Layer.succeed(Mailer, {
    send: (to, subject) =>
      to.includes("@") ? Effect.succeed(`<${subject.length}.${to}>`) : Effect.fail(new SmtpError({ code: 550 }))
  })
}
