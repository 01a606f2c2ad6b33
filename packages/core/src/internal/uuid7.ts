import { Clock, Effect, Random, Utils } from "effect"

/**
 * Makes UUIDs of version 7 (RFC 9562 §5.7) that sort in the order they were made, whatever the clock does: 48 bits of
 * time, a 32-bit counter that starts at a random place in each millisecond (§6.2, method 1), 42 random bits.
 *
 * Time comes from `Clock` and the seed from `Random`, so ids are reproducible in tests.
 */
export interface Uuid7 {
  /** `count` ids, ascending, later than all before. */
  readonly make: (count: number) => Effect.Effect<Array<string>>
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0")

const seed = Effect.replicateEffect(Random.nextIntBetween(0, 0xffffffff), 4)

export const make: Effect.Effect<Uuid7> = Effect.map(seed, ([seedHi, seedLo, incHi, incLo]) => {
  const random = new Utils.PCGRandom(seedHi!, seedLo!, incHi!, incLo!)
  let lastMillis = -1
  let counter = 0
  const next = (now: number): string => {
    if (now > lastMillis) {
      lastMillis = now
      counter = random.integer(0x7fffffff)
    } else if (++counter > 0xffffffff) {
      lastMillis++
      counter = random.integer(0x7fffffff)
    }
    const time = hex(lastMillis, 12)
    const high = Math.floor(counter / 0x100000)
    const low = counter % 0x100000
    // 14 bits behind the two variant bits, then the last 6 of the counter's 20 low bits before 42 random ones
    const variant = 0x8000 | (low >>> 6)
    const node = ((low & 0x3f) << 10) | random.integer(0x400)
    return `${time.slice(0, 8)}-${time.slice(8)}-7${hex(high, 3)}-${hex(variant, 4)}-${hex(node, 4)}${hex(random.integer(0xffffffff), 8)}`
  }
  return {
    make: (count) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const ids: Array<string> = new Array(count)
        for (let i = 0; i < count; i++) {
          ids[i] = next(now)
        }
        return ids
      })
  }
})
