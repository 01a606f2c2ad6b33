import { Clock } from "effect"

/** Waits and retries are those of the machine: under a test's virtual clock they would never end. */
export const liveClock = Clock.make()
