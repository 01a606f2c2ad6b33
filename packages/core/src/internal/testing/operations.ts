import { Effect } from "effect"

/** Changes what an operation of a service does. `args` are those of the call; none where the operation takes none. */
export type Change = (
  name: string,
  args: ReadonlyArray<unknown>,
  call: (...args: ReadonlyArray<unknown>) => Effect.Effect<unknown, unknown, unknown>
) => Effect.Effect<unknown, unknown, unknown>

/** A service every operation of which is changed, also those that are added to it one day; what is no operation stays. */
export const changeAll = <S extends object>(service: S, change: Change): S =>
  Object.fromEntries(
    Object.entries(service).map(([name, member]) => {
      if (typeof member === "function") {
        return [name, (...args: ReadonlyArray<unknown>) => change(name, args, member)]
      }
      return [name, Effect.isEffect(member) ? change(name, [], () => member) : member]
    })
  ) as S
