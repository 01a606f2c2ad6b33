import { Effect } from "effect"
import { expect, test } from "tstyche"

test("the type tests run", () => {
  expect(Effect.succeed(1)).type.toBe<Effect.Effect<number>>()
})
