import { assert, describe, it } from "@effect/vitest"
import { Admission, type Broker, Limit } from "@effect-tasks/core"
import { FastCheck as fc } from "effect"

const bucket = (limit: number, everyMillis: number, burst: number): Limit.EncodedRate => ({
  _tag: "TokenBucket",
  limit,
  everyMillis,
  burst,
  key: null,
  refuse: false
})

const window = (limit: number, windowMillis: number): Limit.EncodedRate => ({
  _tag: "FixedWindow",
  limit,
  windowMillis,
  key: null,
  refuse: false
})

/** The moments at which runs pass a rate when one asks for as many as possible at each of these moments. */
const passing = (rate: Limit.EncodedRate, moments: ReadonlyArray<number>): ReadonlyArray<number> => {
  let state = Limit.unused
  const passed: Array<number> = []
  for (const now of moments) {
    for (let free = Limit.free(rate, state, now); free > 0; free--) {
      state = Limit.passed(rate, state, now)
      passed.push(now)
    }
    assert.strictEqual(Limit.free(rate, state, now), 0)
  }
  return passed
}

const assertAll = <Ts>(property: fc.IProperty<Ts>): void => fc.assert(property)

const count = fc.integer({ min: 1, max: 20 })
const millis = fc.integer({ min: 1, max: 5_000 })
const start = 1_700_000_000_000
const moments = fc
  .array(fc.integer({ min: 0, max: 2_000 }), { minLength: 1, maxLength: 60 })
  .map((steps) => steps.map((_, i) => start + steps.slice(0, i + 1).reduce((sum, step) => sum + step, 0)))

describe("a token bucket", () => {
  it("lets no more pass in any time than its burst and what comes back in that time", () => {
    assertAll(
      fc.property(count, millis, count, moments, (limit, every, burst, moments) => {
        const passed = passing(bucket(limit, every, burst), moments)
        passed.forEach((from, i) => {
          for (let j = i; j < passed.length; j++) {
            const most = burst + ((passed[j]! - from) * limit) / every
            assert.isAtMost(j - i + 1, Math.floor(most))
          }
        })
      })
    )
  })

  it("lets the next one pass at the moment that it names, and not before", () => {
    assertAll(
      fc.property(count, millis, count, moments, (limit, every, burst, moments) => {
        const rate = bucket(limit, every, burst)
        let state = Limit.unused
        for (const now of moments) {
          while (Limit.free(rate, state, now) > 0) {
            state = Limit.passed(rate, state, now)
          }
          const next = Limit.freeAt(rate, state)
          assert.isAbove(next, now)
          assert.isAtLeast(Limit.free(rate, state, next), 1)
          assert.strictEqual(Limit.free(rate, state, next - 1), 0)
        }
      })
    )
  })

  it("gives all tokens back in time: at its pace as many pass as it allows", () => {
    const every100 = Array.from({ length: 1_000 }, (_, i) => start + i * 100)
    assert.strictEqual(passing(bucket(3, 1_000, 3), every100).length, 3 + 299)
  })
})

describe("a fixed window", () => {
  it("lets its number pass in each window", () => {
    assertAll(
      fc.property(count, millis, moments, (limit, millis, moments) => {
        const passed = passing(window(limit, millis), moments)
        const windows = (all: ReadonlyArray<number>) => new Set(all.map((at) => Math.floor(at / millis)))
        assert.strictEqual(passed.length, windows(moments).size * limit)
        for (const one of windows(passed)) {
          assert.strictEqual(passed.filter((at) => Math.floor(at / millis) === one).length, limit)
        }
      })
    )
  })
})

const request = (tasks: ReadonlyArray<Broker.ServedTask>, limit: number): Broker.ClaimRequest => ({
  consumer: "A",
  queues: ["q"],
  queueLimits: [{ queue: "q", maxConcurrency: 9 }],
  tasks,
  limit,
  now: start,
  leaseUntil: start + 30_000
})

describe("admission", () => {
  const tasks: ReadonlyArray<Broker.ServedTask> = [
    {
      name: "T",
      maxConcurrency: 6,
      limits: [{ _tag: "Concurrency", max: 2, key: 0 }, bucket(1, 1_000, 4)],
      room: null
    },
    { name: "U", maxConcurrency: null, limits: [], room: 3 }
  ]

  const lanes = (
    sizes: ReadonlyArray<readonly [task: "T" | "U", key: string | null, group: string | null, n: number]>
  ) =>
    sizes.map(([task, key, group, n], lane): Admission.Lane<Admission.Head> => {
      const heads = Array.from({ length: n }, (_, i) => ({
        id: `${String(lane).padStart(3, "0")}-${String(i).padStart(3, "0")}`,
        rank: start - 1_000 + i,
        priority: 0,
        dueAt: start - 1_000 + i
      }))
      return {
        task,
        queue: "q",
        group,
        limitKeys: key === null ? null : JSON.stringify([key]),
        peek: () => heads[0],
        next: () => void heads.shift()
      }
    })

  const lane = fc.tuple(
    fc.constantFrom("T" as const, "U" as const),
    fc.constantFrom(null, "a", "b", "c"),
    fc.constantFrom(null, "g", "h"),
    fc.integer({ min: 0, max: 6 })
  )

  it("never lets more pass than each limit allows, takes each run once, and stops only at a limit", () => {
    assertAll(
      fc.property(fc.array(lane, { maxLength: 12 }), fc.integer({ min: 1, max: 30 }), (sizes, limit) => {
        const limits = new Admission.Limits(request(tasks, limit), {
          running: [{ task: "T", limitKeys: '["a"]', runs: 1 }],
          runningOfQueues: new Map([["q", 1]]),
          rates: new Map()
        })
        const all = lanes(sizes)
        const admitted = Admission.admit(all, limits, new Admission.Turns(), { limit, now: start })
        const of = (task: string, key?: string) =>
          admitted.filter(
            ({ kind }) => kind.task === task && (key === undefined || kind.limitKeys === JSON.stringify([key]))
          ).length
        assert.strictEqual(new Set(admitted.map(({ head }) => head.id)).size, admitted.length)
        assert.isAtMost(admitted.length, Math.min(limit, 8))
        assert.isAtMost(of("T"), 4)
        assert.isAtMost(of("T", "a"), 1)
        assert.isAtMost(of("T", "b"), 2)
        assert.isAtMost(of("U"), 3)
        if (admitted.length < Math.min(limit, 8)) {
          for (const left of all.filter(({ peek }) => peek() !== undefined)) {
            const isShut =
              left.task === "U"
                ? of("U") === 3
                : of("T") === 4 ||
                  of("T", JSON.parse(left.limitKeys ?? '[""]')[0]) >= (left.limitKeys === '["a"]' ? 1 : 2)
            assert.isTrue(isShut, `${left.task} ${left.limitKeys} was left`)
          }
        }
      })
    )
  })

  it("gives groups of equal runs equal shares", () => {
    assertAll(
      fc.property(fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 2, maxLength: 6 }), (backlogs) => {
        const turns = new Admission.Turns()
        const all = lanes(backlogs.map((n, group) => ["U", null, `g${group}`, n]))
        const unlimited = [{ ...tasks[1]!, room: null }]
        const limits = new Admission.Limits(
          { ...request(unlimited, 1), queueLimits: [] },
          { running: [], runningOfQueues: new Map(), rates: new Map() }
        )
        const served = new Map<string | null, number>()
        for (let now = start; ; now++) {
          const [next] = Admission.admit(all, limits, turns, { limit: 1, now })
          if (next === undefined) {
            break
          }
          served.set(next.kind.group, (served.get(next.kind.group) ?? 0) + 1)
          const waiting = all.filter(({ peek }) => peek() !== undefined).map(({ group }) => served.get(group) ?? 0)
          // while both wait, no group is more than one turn ahead of another
          assert.isAtMost(Math.max(0, ...waiting) - Math.min(...waiting, Number.MAX_SAFE_INTEGER), 1)
        }
        assert.deepStrictEqual(
          Array.from(served.values()).reduce((sum, n) => sum + n, 0),
          backlogs.reduce((sum, n) => sum + n, 0)
        )
      })
    )
  })
})
