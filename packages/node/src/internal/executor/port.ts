import { isMainThread, parentPort, workerData } from "node:worker_threads"
import { Option } from "effect"
import * as protocol from "./protocol.js"

/** The side of a worker: what it tells its pool, and hears from it. */
export interface Port {
  readonly post: (message: protocol.FromWorker) => void
  readonly listen: (onMessage: (message: protocol.ToWorker) => void, onLost: () => void) => void
  /** Ends the worker when all that was told is on its way. */
  readonly exit: () => void
}

type OnMessage = (message: protocol.ToWorker) => void

const hearing = (onMessage: OnMessage) => (text: unknown) => {
  Option.map(protocol.decodeToWorker(text), onMessage)
}

/** The port of this thread or process, if a pool has started it. */
export const open = (): Option.Option<Port> => {
  if (parentPort !== null && workerData === protocol.mark) {
    return Option.some(ofThread(parentPort))
  }
  return isMainThread && process.send !== undefined && process.env[protocol.mark] === "process"
    ? Option.some(ofProcess(process.send.bind(process)))
    : Option.none()
}

const ofThread = (port: NonNullable<typeof parentPort>): Port => ({
  post: (message) => port.postMessage(protocol.encode(message)),
  // the thread of a program that has ended is ended with it
  listen: (onMessage) => void port.on("message", hearing(onMessage)),
  exit: () => process.exit()
})

const ofProcess = (send: NonNullable<typeof process.send>): Port => {
  // what this process starts is no worker
  delete process.env[protocol.mark]
  let underWay = 0
  let isToExit = false
  return {
    post: (message) => {
      underWay++
      send(protocol.encode(message), undefined, undefined, () => {
        underWay--
        if (isToExit && underWay === 0) {
          process.exit()
        }
      })
    },
    listen: (onMessage, onLost) => {
      process.on("message", hearing(onMessage))
      process.once("disconnect", onLost)
    },
    exit: () => {
      isToExit = true
      if (underWay === 0) {
        process.exit()
      }
    }
  }
}
