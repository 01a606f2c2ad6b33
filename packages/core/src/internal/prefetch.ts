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

  /** How many more to claim when so many are claimed, or asked for, ahead already. */
  wish(ahead: number): number {
    const allowed = Math.min(this.most, Math.floor(this.perMilli * horizon))
    // not one by one: half of it is a batch
    return ahead * 2 > allowed ? 0 : allowed - ahead
  }
}

/** Over so many milliseconds, at the least, the pace is measured. */
const window = 5

/** For so many milliseconds, at the pace of late, runs are claimed ahead. */
const horizon = 20

/** What has waited for so many milliseconds is given back: the pace has changed. */
export const longestWait = 250
