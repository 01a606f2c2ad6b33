import { Context, Effect, Layer } from "effect"
import { url } from "../postgres/database.js"
import * as Proxy from "./proxy.js"
import * as Scene from "./scene.js"

/** The network between the scene and its server. */
export class Network extends Context.Tag("@effect-tasks/test/chaos/Network")<Network, Proxy.Proxy>() {}

const NetworkLive = Layer.scoped(
  Network,
  Effect.suspend(() => {
    const { hostname, port } = new URL(url)
    return Proxy.make(hostname, port === "" ? 5432 : Number(port))
  })
)

const through = (port: number): string => {
  const shown = new URL(url)
  shown.hostname = "127.0.0.1"
  shown.port = `${port}`
  return shown.href
}

/** A scene whose workers and producers reach the server through a network that can fail. */
export const layer = (workers: Scene.Options["workers"]) =>
  Layer.unwrapEffect(Effect.map(Network, ({ port }) => Scene.layer({ workers, url: through(port) }))).pipe(
    Layer.provideMerge(NetworkLive)
  )
