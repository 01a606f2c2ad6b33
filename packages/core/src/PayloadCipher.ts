/**
 * Encryption of what runs carry, before it reaches broker or store.
 *
 * A cipher stands between manager and consumer on the one side and a backend on the other. Above it everything is as it is
 * without; below it payloads, results, errors, words of progress and, if asked, log lines are AES-256-GCM under keys that only
 * the application has. A text is bound to its run: moved to another one, or changed, it does not decrypt.
 *
 * What orders and chooses runs stays readable: ids, task, queue, state, times, priority, tags, group, keys of idempotency and
 * of limits, the number of a progress, and the reason of a cancellation. See the guide to encryption.
 *
 * @since 0.1.0
 */
import { Config, ConfigError, Context, Effect, Either, Layer, Redacted } from "effect"
import type { Backend } from "./Backend.js"
import { Broker } from "./Broker.js"
import * as cipher from "./internal/cipher.js"
import * as cipherBackend from "./internal/cipherBackend.js"
import { Store } from "./Store.js"
import type { InvalidOption } from "./TaskError.js"

/**
 * A key.
 *
 * - `id`: stands in clear beside what the key has encrypted; 1 to 64 letters, digits, `-` and `_`
 * - `key`: 32 bytes, or their base64
 *
 * @since 0.1.0
 * @category models
 */
export interface Key {
  readonly id: string
  readonly key: Redacted.Redacted<string | Uint8Array>
}

/**
 * - `keys`: the first encrypts, all decrypt
 * - `logs`: whether what handlers log is encrypted in the store too (message, annotations, spans). Default: false
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly keys: ReadonlyArray<Key>
  readonly logs?: boolean | undefined
}

/**
 * Puts the cipher on the backend below. Managers and consumers that share runs are to have the same keys.
 *
 * Records that were written before, without encryption, are read as they are.
 *
 * @example
 * ```ts
 * import { Backend, PayloadCipher, TaskManager } from "@effect-tasks/core"
 * import { Layer, Redacted } from "effect"
 *
 * const key = Redacted.make("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
 *
 * const Main = TaskManager.layer.pipe(
 *   Layer.provide(PayloadCipher.layer({ keys: [{ id: "2026", key }], logs: true })),
 *   Layer.provide(Backend.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Backend, InvalidOption, Backend> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const { broker, store } = cipherBackend.make({
        cipher: yield* cipher.make(options.keys),
        logs: options.logs ?? false,
        broker: yield* Broker,
        store: yield* Store
      })
      return Context.make(Broker, broker).pipe(Context.add(Store, store))
    })
  )

/**
 * `layer`, with options from the configuration.
 *
 * @example
 * ```ts
 * import { PayloadCipher } from "@effect-tasks/core"
 *
 * // TASK_KEYS="2026b:<base64>,2026a:<base64>"
 * export const Cipher = PayloadCipher.layerConfig({ keys: PayloadCipher.keys("TASK_KEYS") })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<Backend, InvalidOption | ConfigError.ConfigError, Backend> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(options), layer))

/**
 * Keys from one value of the configuration: `id:base64`, with commas between them.
 *
 * @since 0.1.0
 * @category configuration
 */
export const keys = (name: string): Config.Config<ReadonlyArray<Key>> =>
  Config.nested(Config.mapOrFail(Config.redacted(), parseKeys), name)

const parseKeys = (text: Redacted.Redacted): Either.Either<ReadonlyArray<Key>, ConfigError.ConfigError> => {
  const keys = Redacted.value(text)
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "")
    .map((one) => one.split(":"))
  return keys.every((parts) => parts.length === 2)
    ? Either.right(keys.map(([id = "", key = ""]) => ({ id: id.trim(), key: Redacted.make(key) })))
    : // the value is not shown
      Either.left(ConfigError.InvalidData([], "Expected keys as id:base64, with commas between them"))
}

/**
 * A new key: 32 bytes of the platform's secure chance, as base64.
 *
 * @since 0.1.0
 * @category keys
 */
export const generateKey: Effect.Effect<Redacted.Redacted<string>> = cipher.generateKey
