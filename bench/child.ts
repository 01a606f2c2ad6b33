/*
 * The process of one subject, with a heap and compiled code of its own: `child.js BACKEND SUBJECT PROCESS`. It is asked for rounds one
 * at a time, and answers each.
 */
import { load } from "./bench.js"
import { type Answer, type Backend, type Request, remove } from "./protocol.js"

const [backend, subject, name] = process.argv.slice(2)

const bench = load(backend as Backend, subject!, name!)

const answer = async (request: Request | typeof remove): Promise<Answer> => {
  try {
    const { remove: removeAll, round } = await bench
    if (request === remove) {
      await removeAll()
      return { _tag: "Measured", values: {} }
    }
    return { _tag: "Measured", values: await round(request) }
  } catch (error) {
    return { _tag: "Failed", message: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

process.on("message", (request: Request | typeof remove) => {
  void answer(request).then((given) => process.send?.(given))
})

// without its parent it has nobody to work for
process.on("disconnect", () => process.exit())
