/**
 * How many runs a consumer claims beyond its free places.
 *
 * A claim costs a round trip, however many runs it gives. Where runs are short, that is most of their time, so a consumer
 * takes along what it will have begun within `horizon` anyway. Where runs are long the number is nought: what one consumer
 * keeps waiting, another one could perform.
 */
export class Prefetch {
  private readonly most: number
  private ended = 0
  private since: number | null = null
  private perMilli = 0
  private meanMillis: number | null = null

  constructor(most: number) {
    this.most = most
  }

  /** Notes how many attempts have ended until now. */
  note(ended: number, now: number): void {
    this.since ??= now
    this.ended += ended
    const elapsed = now - this.since
    if (elapsed >= window) {
      this.perMilli = this.ended / elapsed
      this.ended = 0
      this.since = now
    }
  }

  /** Notes how long an attempt has taken, in real time. Many long ones that end together are a pace that will not last. */
  took(millis: number): void {
    this.meanMillis = this.meanMillis === null ? millis : this.meanMillis + (millis - this.meanMillis) * weight
  }

  /** How many more to claim when so many are claimed, or asked for, ahead already. */
  wish(ahead: number, places: number): number {
    const pace = Math.min(this.perMilli, places / Math.max(this.meanMillis ?? Number.POSITIVE_INFINITY, shortest))
    const allowed = Math.min(this.most, Math.floor(pace * horizon))
    // not one by one: half of it is a batch
    return ahead * 2 > allowed ? 0 : allowed - ahead
  }
}

/** Over so many milliseconds, at the least, the pace is measured. */
const window = 5

/** How much the latest attempt counts in the mean of their times. */
const weight = 0.1

/** No attempt counts as shorter, in milliseconds: they are measured in whole ones. */
const shortest = 0.2

/** For so many milliseconds, at the pace of late, runs are claimed ahead. */
const horizon = 20

/** What has waited for so many milliseconds is given back: the pace has changed. */
export const longestWait = 250
