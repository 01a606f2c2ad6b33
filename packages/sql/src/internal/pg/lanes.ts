import { lanesSeen } from "@effect-tasks/core/Admission"

/** Behind which of the finer lanes of a plain one the next claim begins to look. */
export type Cursors = Map<string, string>

/** A stretch of the finer lanes of a plain one, and how far it has been seen. */
interface Segment {
  readonly lane: string
  from: string
  readonly upto: string
  isSeen: boolean
}

/** No lane of the task in the queue comes behind it: the rest of a name is a JSON array. */
const endOf = (lane: string): string => `${lane}\u001f~`

/**
 * The finer lanes that one claim looks at, in windows: from where the claim before has stopped to the end, and then from the
 * beginning to there. So all come to be seen, however many there are.
 */
export class Segments {
  private readonly cursors: Cursors
  private readonly lanes: ReadonlyArray<string>
  private readonly all: ReadonlyArray<Segment>

  constructor(lanes: ReadonlyArray<string>, cursors: Cursors) {
    this.lanes = lanes
    this.cursors = cursors
    this.all = lanes.flatMap((lane): ReadonlyArray<Segment> => {
      const cursor = cursors.get(lane)
      return cursor === undefined
        ? [{ lane, from: lane, upto: endOf(lane), isSeen: false }]
        : [
            { lane, from: cursor, upto: endOf(lane), isSeen: false },
            { lane, from: lane, upto: cursor, isSeen: false }
          ]
    })
  }

  /** What is left to be seen. */
  get left(): ReadonlyArray<Readonly<Segment>> {
    return this.all.filter(({ isSeen }) => !isSeen)
  }

  /** Notes the lanes that a look at what was left has found, in their order, by their places in that, from 1 on. */
  found(left: ReadonlyArray<Readonly<Segment>>, lanes: ReadonlyArray<readonly [place: number, lane: string]>): void {
    left.forEach((given, i) => {
      const segment = this.all.find((one) => one === given)
      const names = lanes.flatMap(([place, lane]) => (place === i + 1 ? [lane] : []))
      if (segment !== undefined) {
        segment.from = names.at(-1) ?? segment.from
        segment.isSeen = names.length < lanesSeen
      }
    })
  }

  /** Remembers where the next claim begins: where it was all seen, at the beginning. */
  remember(): void {
    for (const lane of this.lanes) {
      const unseen = this.all.find((segment) => segment.lane === lane && !segment.isSeen)
      if (unseen === undefined) {
        this.cursors.delete(lane)
      } else {
        this.cursors.set(lane, unseen.from)
      }
    }
  }
}
