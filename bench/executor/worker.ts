/* What the threads run. The hooks of the process hold in them too. */
import * as NodeExecutor from "@effect-tasks/node/NodeExecutor"
import { Busy, BusyLive } from "./tasks.js"

NodeExecutor.serve(Busy, BusyLive)
