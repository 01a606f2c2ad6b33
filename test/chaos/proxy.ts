import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net"
import { Effect, type Scope } from "effect"

/** A client's connection, and the one to the server that belongs to it. */
interface Link {
  readonly client: Socket
  readonly server: Socket
}

/** Stands between clients and a server, and lets the network fail. */
export interface Proxy {
  readonly port: number
  /** From now on no byte passes, in any connection, until the other one is called. Connections stay open, and new ones are accepted. */
  readonly stall: Effect.Effect<void>
  readonly flow: Effect.Effect<void>
  /** Resets all connections, on both sides. */
  readonly cut: Effect.Effect<void>
  /** Ends the server's side of all connections. The clients never hear of it: theirs stay open, and say nothing more. */
  readonly halfOpen: Effect.Effect<void>
}

const ignoreErrors = (socket: Socket): Socket => socket.on("error", () => {})

const listen = (server: Server) =>
  Effect.async<number>((resume) => {
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as AddressInfo).port)))
  })

/** A proxy to this server, for as long as the scope lasts. */
export const make = (host: string, port: number): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function* () {
    const links = new Set<Link>()
    let isStalled = false

    const onClient = (client: Socket): void => {
      const link: Link = { client: ignoreErrors(client), server: ignoreErrors(connect(port, host)) }
      links.add(link)
      for (const [from, to] of [
        [link.client, link.server],
        [link.server, link.client]
      ] as const) {
        from.on("data", (bytes) => {
          if (!to.write(bytes)) {
            from.pause()
            to.once("drain", () => !isStalled && from.resume())
          }
        })
        from.on("close", () => {
          if (links.delete(link)) {
            to.destroy()
          }
        })
      }
      if (isStalled) {
        pause(link)
      }
    }
    const pause = ({ client, server }: Link): void => {
      client.pause()
      server.pause()
    }

    const server = createServer(onClient)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        server.close()
        links.forEach((link) => {
          link.client.destroy()
          link.server.destroy()
        })
      })
    )
    return {
      port: yield* listen(server),
      stall: Effect.sync(() => {
        isStalled = true
        links.forEach(pause)
      }),
      flow: Effect.sync(() => {
        isStalled = false
        links.forEach((link) => {
          link.client.resume()
          link.server.resume()
        })
      }),
      cut: Effect.sync(() => {
        links.forEach((link) => {
          links.delete(link)
          link.client.resetAndDestroy()
          link.server.resetAndDestroy()
        })
      }),
      halfOpen: Effect.sync(() => {
        links.forEach((link) => {
          links.delete(link)
          link.client.removeAllListeners("data")
          // read on, so that the client may send as long as it likes
          link.client.resume()
          link.server.destroy()
        })
      })
    }
  })
