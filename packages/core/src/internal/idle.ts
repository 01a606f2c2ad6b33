import { Effect } from "effect"

/** Those who wait until something is no longer in flight. They look whenever a claim has been let go. */
export class Idle {
  private readonly looks = new Set<() => void>()

  look(): void {
    if (this.looks.size > 0) {
      this.looks.forEach((look) => look())
    }
  }

  /** Waits until a condition holds. */
  until(condition: () => boolean): Effect.Effect<void> {
    return Effect.async((resume) => {
      const look = () => {
        if (condition()) {
          this.looks.delete(look)
          resume(Effect.void)
        }
      }
      this.looks.add(look)
      look()
      return Effect.sync(() => this.looks.delete(look))
    })
  }
}
