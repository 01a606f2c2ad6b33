import { Effect, Encoding, Redacted } from "effect"
import { InvalidOption } from "../TaskError.js"
import { type Binding, keyIdShape, read, write } from "./envelope.js"

/*
 * AES-256 in Galois/Counter Mode, by the Web Cryptography API of the platform. Plain promises, so that a batch of many texts
 * waits once.
 */

/** A key, before it is taken into use. Documented in `PayloadCipher`. */
export interface Key {
  readonly id: string
  readonly key: Redacted.Redacted<string | Uint8Array>
}

/** What a text is about, and so the only place where it can be read. */
export type Place = ReadonlyArray<string | number>

export interface Cipher {
  /** The envelope of a text, made with the first key. */
  readonly seal: (text: string, binding: Binding, place: Place) => Promise<string>
  /** The text of an envelope; `null` when its key is not here, or when it was changed or belongs to another place. */
  readonly open: (envelope: string, place: (binding: Binding) => Place) => Promise<string | null>
}

interface Algorithm {
  readonly name: "AES-GCM"
  readonly iv: Uint8Array
  readonly additionalData: Uint8Array
}

/** The part of the Web Cryptography API that is used here; keys are opaque. */
interface WebCrypto {
  readonly getRandomValues: (bytes: Uint8Array) => Uint8Array
  readonly subtle: {
    readonly importKey: (
      format: "raw",
      bytes: Uint8Array,
      algorithm: "AES-GCM",
      extractable: boolean,
      uses: ReadonlyArray<"encrypt" | "decrypt">
    ) => Promise<object>
    readonly encrypt: (algorithm: Algorithm, key: object, bytes: Uint8Array) => Promise<ArrayBuffer>
    readonly decrypt: (algorithm: Algorithm, key: object, bytes: Uint8Array) => Promise<ArrayBuffer>
  }
}

const { TextDecoder, TextEncoder, crypto } = globalThis as unknown as {
  readonly crypto: WebCrypto
  readonly TextEncoder: new () => { readonly encode: (text: string) => Uint8Array }
  readonly TextDecoder: new () => { readonly decode: (bytes: ArrayBuffer) => string }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** The lengths in bytes of a key, of what makes each encryption unique, and of what shows a change. */
const keyLength = 32
const ivLength = 12
const tagLength = 16

const algorithm = (iv: Uint8Array, keyId: string, binding: Binding, place: Place): Algorithm => ({
  name: "AES-GCM",
  iv,
  additionalData: encoder.encode(JSON.stringify(["effect-tasks", 1, keyId, binding, ...place]))
})

/** The bytes of a text in base64url; nothing, unless it is the one way to write them. */
const bytesOf = (data: string): Uint8Array | undefined => {
  const decoded = Encoding.decodeBase64Url(data)
  if (decoded._tag === "Left") {
    return undefined
  }
  const bytes = decoded.right
  // the last characters may have bits that no byte has
  const ends = data.length % 4 || 4
  const isOnlyWay = data.endsWith(Encoding.encodeBase64Url(bytes.slice(bytes.length - (ends - 1))))
  return isOnlyWay && bytes.length >= ivLength + tagLength ? bytes : undefined
}

const bytesOfKey = ({ key }: Key): Uint8Array | undefined => {
  const value = Redacted.value(key)
  if (typeof value !== "string") {
    return value
  }
  const decoded = Encoding.decodeBase64(value.trim())
  return decoded._tag === "Right" ? decoded.right : undefined
}

/** A new key, as base64. */
export const generateKey: Effect.Effect<Redacted.Redacted<string>> = Effect.sync(() =>
  Redacted.make(Encoding.encodeBase64(crypto.getRandomValues(new Uint8Array(keyLength))))
)

/** No message may tell anything of a key. */
const badKey = (option: string, value: string, expected: string) => new InvalidOption({ option, value, expected })

const importKey = (key: Key, index: number): Effect.Effect<object, InvalidOption> =>
  Effect.suspend(() => {
    const bytes = bytesOfKey(key)
    return bytes?.length === keyLength
      ? Effect.promise(() => crypto.subtle.importKey("raw", bytes, "AES-GCM", false, ["encrypt", "decrypt"]))
      : badKey(
          `keys[${index}].key`,
          bytes === undefined ? "no base64" : `${bytes.length} bytes long`,
          `${keyLength} bytes, or their base64`
        )
  })

/** Checks the keys, and takes them into use. */
export const make = (keys: ReadonlyArray<Key>): Effect.Effect<Cipher, InvalidOption> =>
  Effect.gen(function* () {
    const known = new Map<string, object>()
    for (const [i, key] of keys.entries()) {
      if (!keyIdShape.test(key.id)) {
        return yield* badKey(`keys[${i}].id`, key.id, "1 to 64 letters, digits, - and _")
      }
      if (known.has(key.id)) {
        return yield* badKey(`keys[${i}].id`, key.id, "unlike the ids of the other keys")
      }
      known.set(key.id, yield* importKey(key, i))
    }
    const [first] = known
    return first === undefined
      ? yield* badKey("keys", "empty", "one key or more")
      : { seal: sealer(first[0], first[1]), open: opener(known) }
  })

const sealer =
  (keyId: string, key: object): Cipher["seal"] =>
  async (text, binding, place) => {
    const iv = crypto.getRandomValues(new Uint8Array(ivLength))
    const sealed = await crypto.subtle.encrypt(algorithm(iv, keyId, binding, place), key, encoder.encode(text))
    const bytes = new Uint8Array(ivLength + sealed.byteLength)
    bytes.set(iv)
    bytes.set(new Uint8Array(sealed), ivLength)
    return write({ keyId, binding, data: Encoding.encodeBase64Url(bytes) })
  }

const opener =
  (keys: ReadonlyMap<string, object>): Cipher["open"] =>
  async (text, place) => {
    const envelope = read(text)
    const key = envelope === undefined ? undefined : keys.get(envelope.keyId)
    const bytes = envelope === undefined || key === undefined ? undefined : bytesOf(envelope.data)
    if (envelope === undefined || key === undefined || bytes === undefined) {
      return null
    }
    const { binding, keyId } = envelope
    const how = algorithm(bytes.subarray(0, ivLength), keyId, binding, place(binding))
    return crypto.subtle.decrypt(how, key, bytes.subarray(ivLength)).then(
      (opened) => decoder.decode(opened),
      () => null
    )
  }
