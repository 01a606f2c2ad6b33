import { Backend } from "@effect-tasks/core"
import { Effect, Layer } from "effect"
import { conformance } from "./conformance/index.js"

// The processes of a test share the one memory.
conformance("memory", { storage: Effect.map(Layer.build(Backend.layerMemory), Layer.succeedContext) })
