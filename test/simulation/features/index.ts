import { failing } from "./failing.js"
import { families } from "./families.js"
import type { Feature } from "./feature.js"
import { keyed } from "./keyed.js"
import { limited } from "./limited.js"
import { plain } from "./plain.js"
import { replaced } from "./replaced.js"
import { throttled } from "./throttled.js"
import { verdicts } from "./verdicts.js"

/** Everything that worlds are made of. A new feature of the runtime gets a file here, and what it promises a check. */
export const features: ReadonlyArray<Feature> = [
  plain,
  limited,
  failing,
  verdicts,
  families,
  keyed,
  throttled,
  replaced
]
