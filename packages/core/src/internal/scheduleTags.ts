import { showTime } from "./ticks.js"

/*
 * The runs of a schedule carry its name, and the time of their tick, as tags: so they can be asked for, and a run that repeats
 * one carries them too.
 */

const schedulePrefix = "schedule:"
const tickPrefix = "tick:"

/** The tag of all runs of a schedule. */
const scheduleTag = (name: string): string => `${schedulePrefix}${name}`

/** The tags of a run that a tick has made, or, without one, somebody by hand. */
export const tagsOf = (name: string, tick: number | null): ReadonlyArray<string> =>
  tick === null ? [scheduleTag(name)] : [scheduleTag(name), `${tickPrefix}${showTime(tick)}`]

/** The schedule that has made a run. */
export const scheduleOf = (tags: ReadonlyArray<string>): string | null =>
  tags.find((tag) => tag.startsWith(schedulePrefix))?.slice(schedulePrefix.length) ?? null

/** The time of the tick that has made a run. */
export const tickOf = (tags: ReadonlyArray<string>): number | null => {
  const text = tags.find((tag) => tag.startsWith(tickPrefix))?.slice(tickPrefix.length)
  const tick = text === undefined ? Number.NaN : Date.parse(text)
  return Number.isNaN(tick) ? null : tick
}

const oncePrefix = "once:"

/** The tag of one-shots, and the tag of the one with a key. */
export const onceTag = "once"

export const onceKeyTag = (key: string): string => `${oncePrefix}${key}`

/** The key of a one-shot. */
export const onceKeyOf = (tags: ReadonlyArray<string>): string | null =>
  tags.find((tag) => tag.startsWith(oncePrefix))?.slice(oncePrefix.length) ?? null
