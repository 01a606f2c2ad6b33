/** A priority queue: the smallest element by `before` comes first. */
export interface Heap<A> {
  readonly size: () => number
  readonly peek: () => A | undefined
  readonly push: (value: A) => void
  readonly pop: () => A | undefined
}

/** A binary heap in an array (J. W. J. Williams, 1964). */
const makeBinary = <A>(before: (a: A, b: A) => boolean): Heap<A> => {
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

/** A list from whose front one takes; what has been taken is dropped now and then. */
class Fifo<A> {
  private items: Array<A | undefined> = []
  private taken = 0

  get size(): number {
    return this.items.length - this.taken
  }

  get first(): A | undefined {
    return this.items[this.taken]
  }

  get last(): A | undefined {
    return this.size === 0 ? undefined : this.items[this.items.length - 1]
  }

  push(value: A): void {
    this.items.push(value)
  }

  shift(): A | undefined {
    const first = this.items[this.taken]
    if (first === undefined) {
      return undefined
    }
    this.items[this.taken++] = undefined
    if (this.taken > 512 && this.taken * 2 > this.items.length) {
      this.items = this.items.slice(this.taken)
      this.taken = 0
    }
    return first
  }
}

/**
 * Most of what waits arrives in the order in which it goes: that part is a list, where a heap would move the last element
 * through its whole depth each time. Only what overtakes goes into a heap beside it.
 */
export const make = <A>(before: (a: A, b: A) => boolean): Heap<A> => {
  const inOrder = new Fifo<A>()
  const overtaking = makeBinary(before)

  const isOvertaken = (): boolean => {
    const first = inOrder.first
    const other = overtaking.peek()
    return first === undefined || (other !== undefined && before(other, first))
  }

  return {
    size: () => inOrder.size + overtaking.size(),
    peek: () => (isOvertaken() ? overtaking.peek() : inOrder.first),
    push: (value) => {
      const last = inOrder.last
      if (last === undefined || !before(value, last)) {
        inOrder.push(value)
      } else {
        overtaking.push(value)
      }
    },
    pop: () => (isOvertaken() ? overtaking.pop() : inOrder.shift())
  }
}
