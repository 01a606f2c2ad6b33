import { Utils } from "effect"

/** The draws of one thing in a world: its own stream, so that what is drawn for one does not change another. */
export class Draw {
  private readonly random: Utils.PCGRandom

  constructor(seed: number, stream: number) {
    this.random = new Utils.PCGRandom(seed, stream)
  }

  /** From 0 to 1. */
  get part(): number {
    return this.random.number()
  }

  /** An integer, both ends included. */
  int(min: number, max: number): number {
    return min + this.random.integer(max - min + 1)
  }

  chance(probability: number): boolean {
    return this.part < probability
  }

  pick<A>(from: ReadonlyArray<A>): A {
    return from[this.int(0, from.length - 1)]!
  }

  /** Up to so much, and often nothing. */
  some(most: number): number {
    return this.chance(0.5) ? 0 : this.part * most
  }

  times<A>(count: number, make: () => A): ReadonlyArray<A> {
    return Array.from({ length: count }, make)
  }

  shuffle<A>(items: Array<A>): void {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.int(0, i)
      const item = items[i]!
      items[i] = items[j]!
      items[j] = item
    }
  }
}
