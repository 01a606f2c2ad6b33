/** A binary heap: the smallest element by `before` comes first. */
export interface Heap<A> {
  readonly size: () => number
  readonly peek: () => A | undefined
  readonly push: (value: A) => void
  readonly pop: () => A | undefined
}

export const make = <A>(before: (a: A, b: A) => boolean): Heap<A> => {
  const items: Array<A> = []

  const up = (from: number) => {
    const value = items[from]!
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(value, items[parent]!)) {
        break
      }
      items[at] = items[parent]!
      at = parent
    }
    items[at] = value
  }

  const down = (value: A) => {
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= items.length) {
        break
      }
      if (child + 1 < items.length && before(items[child + 1]!, items[child]!)) {
        child++
      }
      if (!before(items[child]!, value)) {
        break
      }
      items[at] = items[child]!
      at = child
    }
    items[at] = value
  }

  return {
    size: () => items.length,
    peek: () => items[0],
    push: (value) => {
      items.push(value)
      up(items.length - 1)
    },
    pop: () => {
      const first = items[0]
      const last = items.pop()
      if (items.length > 0 && last !== undefined) {
        down(last)
      }
      return first
    }
  }
}
