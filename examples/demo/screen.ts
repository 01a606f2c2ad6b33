/** What the demo shows: lines, and one line of progress that is rewritten in place on a terminal. */
import { Terminal } from "@effect/platform"
import { Clock, Context, Effect, Layer } from "effect"

export class Screen extends Context.Tag("Screen")<
  Screen,
  {
    readonly line: (text: string) => Effect.Effect<void>
    readonly progress: (text: string) => Effect.Effect<void>
  }
>() {}

/** Where nobody can rewrite a line, a new one comes at the most so often. */
const plainEveryMillis = 2_000

/** Who reads no further (`demo | head`) wants no more: then the demo stops as after Ctrl-C. */
const stopWithReader = Effect.sync(() => {
  let isGone = false
  process.stdout.on("error", () => {
    if (!isGone) {
      isGone = true
      process.kill(process.pid, "SIGINT")
    }
  })
})

const clearLine = "\r\u001b[K"

export const layer = Layer.scoped(
  Screen,
  Effect.gen(function* () {
    const terminal = yield* Terminal.Terminal
    yield* stopWithReader
    const write = (text: string) => Effect.ignore(terminal.display(text))
    if (!(yield* terminal.isTTY)) {
      let lastAt = 0
      return {
        line: (text) => write(`${text}\n`),
        progress: Effect.fnUntraced(function* (text) {
          const now = yield* Clock.currentTimeMillis
          if (now - lastAt >= plainEveryMillis) {
            lastAt = now
            yield* write(`${text}\n`)
          }
        })
      }
    }
    yield* Effect.addFinalizer(() => write(clearLine))
    return {
      line: (text) => write(`${clearLine}${text}\n`),
      progress: (text) =>
        Effect.flatMap(terminal.columns, (columns) =>
          write(`${clearLine}${columns > 0 ? text.slice(0, columns - 1) : text}`)
        )
    }
  })
)
