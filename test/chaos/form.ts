/*
 * How long the faults last: seconds in the bounded form, which is a part of every check of a change; minutes in the long one
 * (`test:chaos:long`).
 */

export const isLong = process.env.CHAOS === "long"

const seconds = (bounded: number, long: number): number => 1_000 * (isLong ? long : bounded)

/** In milliseconds, where it is not a number of times. */
export const form = {
  /** Load before the fault, and after it. */
  before: seconds(1.5, 10),
  after: seconds(1.5, 10),
  kills: isLong ? 20 : 4,
  terminations: isLong ? 60 : 3,
  restarts: isLong ? 12 : 2,
  stall: seconds(5, 30),
  cuts: isLong ? 60 : 3,
  halfOpen: seconds(4, 30),
  shifted: seconds(4, 60),
  /** By when all workers work again. Two time limits of the backend, and the longest pause between tries, fit in. */
  recovery: seconds(20, 60),
  transaction: seconds(4, 60)
} as const
