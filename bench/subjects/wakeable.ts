/** A loop that works as long as there is work, then waits to be woken: nothing polls. */
export interface Wakeable {
  readonly wake: () => void
  /** Starts loops; `work` says whether it found any. The function that is given ends them. */
  readonly start: (loops: number, work: () => Promise<boolean>) => () => Promise<void>
}

export const make = (): Wakeable => {
  let sleepers: Array<() => void> = []
  let wakes = 0
  const wake = () => {
    wakes++
    const woken = sleepers
    sleepers = []
    for (const resume of woken) {
      resume()
    }
  }
  const start: Wakeable["start"] = (loops, work) => {
    let stopped = false
    const loop = async () => {
      while (!stopped) {
        const seen = wakes
        if (!(await work()) && seen === wakes && !stopped) {
          await new Promise<void>((resume) => sleepers.push(resume))
        }
      }
    }
    const ended = Promise.all(Array.from({ length: loops }, loop))
    return async () => {
      stopped = true
      wake()
      await ended
    }
  }
  return { wake, start }
}
