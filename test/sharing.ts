/** Tests that share what a Layer builds. */
import { afterAll, it, layer as share } from "@effect/vitest"

/**
 * `layer` of @effect/vitest, which changes `it` itself: all files of one worker have the same, so it is put back when the tests
 * of the file have ended.
 */
export const layer: typeof share = (...given) => {
  const methods = { ...it }
  afterAll(() => void Object.assign(it, methods))
  return share(...given)
}
