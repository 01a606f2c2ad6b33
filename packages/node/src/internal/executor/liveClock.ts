import { Clock } from "effect"

/** Threads and processes take real time: under a test's virtual clock they would never be waited for. */
export const liveClock = Clock.make()
