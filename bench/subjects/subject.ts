/**
 * A task queue under measurement.
 *
 * The innermost loops belong to the subject, and the interface is made of promises: a peer that knows nothing of Effect
 * does not pay for it, and ours pays for its own fibers only.
 */
export interface Subject {
  /** Opens a queue without jobs, with the settings that suit what is to be measured. */
  readonly open: (aim: Aim) => Promise<Queue>
  /** Removes what it has left on disk or in the database. */
  readonly remove: () => Promise<void>
}

/**
 * What a queue is set up for: to do as much as it can, or to be used as one would in an application, soon to answer and
 * quiet when there is nothing to do. Most need no difference.
 */
export type Aim = "throughput" | "application"

/** A queue of jobs that are told apart by a number. What is sent is acknowledged as durable when the promise resolves. */
export interface Queue {
  readonly send: (job: number) => Promise<void>
  /** Sends the jobs from `from` to before `to` one by one; so many `callers` wait for their acknowledgement at one time. */
  readonly sendEach: (from: number, to: number, callers: number) => Promise<void>
  /** Sends these jobs at once, in the quickest way there is. */
  readonly sendBulk: (from: number, to: number) => Promise<void>
  /** Starts a consumer; the function that it gives stops it. `perform` is what a handler does, without delay. */
  readonly consume: (concurrency: number, perform: (job: number) => void) => Promise<() => Promise<void>>
  /** How many jobs are not yet recorded as done. */
  readonly unfinished: () => Promise<number>
  readonly close: () => Promise<void>
}

/** What every job carries: about 100 bytes as JSON, in a string of its own. */
export interface Payload {
  readonly n: number
  readonly text: string
}

export const payloadOf = (n: number): Payload => ({ n, text: n.toString(36).padStart(80, "x") })

export const payloadsOf = (from: number, to: number): Array<Payload> =>
  Array.from({ length: to - from }, (_, i) => payloadOf(from + i))

/** `sendEach` for those who have only `send`. */
export const eachOf =
  (send: (job: number) => Promise<void>): Queue["sendEach"] =>
  async (from, to, callers) => {
    let next = from
    const caller = async () => {
      while (next < to) {
        await send(next++)
      }
    }
    await Promise.all(Array.from({ length: callers }, caller))
  }
