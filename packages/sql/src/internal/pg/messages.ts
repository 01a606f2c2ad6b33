import type { Signal } from "@effect-tasks/core/Broker"
import type { RunId } from "@effect-tasks/core/TaskRun"

/*
 * Signals as the payload of a notification, of which PostgreSQL takes less than 8000 bytes.
 */

const limit = 7_900

interface Message {
  /** Who sends it, unless the sender has not heard of it itself yet. */
  readonly from?: string
  readonly work?: true
  readonly ended?: ReadonlyArray<RunId>
  readonly cancel?: ReadonlyArray<readonly [id: RunId, reason: string]>
  readonly schedules?: true
  readonly unlocked?: ReadonlyArray<string>
  /** Too much to tell. */
  readonly changed?: true
}

const size = (text: string): number => new TextEncoder().encode(text).length

/** One message for all of these. */
export const encode = (from: string | undefined, signals: ReadonlyArray<Signal>): string => {
  const ended = signals.flatMap((signal) => (signal._tag === "Ended" ? signal.ids : []))
  const cancel = signals.flatMap((signal) => (signal._tag === "Cancel" ? [[signal.id, signal.reason] as const] : []))
  const unlocked = signals.flatMap((signal) => (signal._tag === "Unlocked" ? signal.names : []))
  const message: Message = {
    ...(from === undefined ? {} : { from }),
    ...(signals.some(({ _tag }) => _tag === "Work") ? { work: true } : {}),
    ...(ended.length > 0 ? { ended } : {}),
    ...(cancel.length > 0 ? { cancel } : {}),
    ...(signals.some(({ _tag }) => _tag === "Schedules") ? { schedules: true } : {}),
    ...(unlocked.length > 0 ? { unlocked } : {}),
    ...(signals.some(({ _tag }) => _tag === "Changed") ? { changed: true } : {})
  }
  const text = JSON.stringify(message)
  return size(text) <= limit ? text : JSON.stringify({ ...(from === undefined ? {} : { from }), changed: true })
}

/** The signals of a message; none of those that `self` has sent and told already. */
export const decode = (self: string, payload: string): ReadonlyArray<Signal> => {
  const message: Message = parse(payload)
  if (message.from === self) {
    return []
  }
  return [
    ...(message.changed === true ? [{ _tag: "Changed" } as const] : []),
    ...(message.work === true ? [{ _tag: "Work" } as const] : []),
    ...(message.schedules === true ? [{ _tag: "Schedules" } as const] : []),
    ...(message.ended === undefined ? [] : [{ _tag: "Ended", ids: message.ended } as const]),
    ...(message.unlocked === undefined ? [] : [{ _tag: "Unlocked", names: message.unlocked } as const]),
    ...(message.cancel ?? []).map(([id, reason]) => ({ _tag: "Cancel", id, reason }) as const)
  ]
}

/** Whoever may connect can notify: what is no message of ours says that something has changed. */
const parse = (payload: string): Message => {
  try {
    const message: unknown = JSON.parse(payload)
    return typeof message === "object" && message !== null ? message : { changed: true }
  } catch {
    return { changed: true }
  }
}
