/** An entry that goes wrong as `BROKEN` says. */
import * as NodeExecutor from "@effect-tasks/node/NodeExecutor"
import { Effect, Layer } from "effect"
import { Group, InThread } from "./tasks.js"

const handle = () => Effect.void
const Live = Group.toLayer({ Again: handle, InProcess: handle, InThread: handle, InTime: handle })

switch (process.env["BROKEN"]) {
  case "load":
    throw new Error("cannot load")
  case "layer":
    NodeExecutor.serve(Group, Layer.merge(Live, Layer.fail("no database")))
    break
  case "silent":
    setInterval(() => {}, 60_000)
    break
  case "other":
    NodeExecutor.serve(Group.tasks.length > 0 ? { ...Group, tasks: [InThread] } : Group, Live)
    break
}
