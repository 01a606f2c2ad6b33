/*
 * How long the faults last: seconds in the bounded form, which is a part of every check of a change; minutes in the long one
 * (`test:chaos:long`).
 */

const isLong = process.env.CHAOS === "long"

const seconds = (bounded: number, long: number): number => 1_000 * (isLong ? long : bounded)

/** In milliseconds, where it is not a number of times. */
export const form = {
  /** Load before the fault, and after it. */
  before: seconds(2, 10),
  after: seconds(2, 10),
  kills: isLong ? 60 : 4,
  terminations: isLong ? 60 : 4,
  restarts: isLong ? 12 : 2,
  stall: seconds(6, 30),
  cuts: isLong ? 60 : 4,
  halfOpen: seconds(4, 30),
  shifted: seconds(5, 60),
  transaction: seconds(5, 60)
} as const
