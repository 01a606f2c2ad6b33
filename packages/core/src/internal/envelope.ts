/*
 * The text that stands for an encrypted one: `~1.<key id>.<what it is bound to>.<data>`. No JSON text begins as it does, so
 * payloads that are encrypted and payloads that are not can stand side by side.
 */

/** What an envelope is bound to: the run's id (`r`), or the task and the run's idempotency key (`k`). */
export type Binding = "r" | "k"

export interface Envelope {
  readonly keyId: string
  readonly binding: Binding
  readonly data: string
}

const mark = "~1."

const shape = /^~1\.([\w-]{1,64})\.([rk])\.([\w-]+)$/

/** What the id of a key looks like. */
export const keyIdShape = /^[\w-]{1,64}$/

export const isEnvelope = (text: string): boolean => text.startsWith(mark)

export const write = ({ binding, data, keyId }: Envelope): string => `${mark}${keyId}.${binding}.${data}`

/** The parts of an envelope; nothing, when it is damaged. */
export const read = (text: string): Envelope | undefined => {
  const [, keyId, binding, data] = shape.exec(text) ?? []
  return keyId === undefined || data === undefined ? undefined : { keyId, binding: binding as Binding, data }
}

/** The key that an envelope names; of a damaged one whatever stands in that place. */
export const keyIdOf = (text: string): string => text.slice(mark.length).split(".", 1)[0] ?? ""
