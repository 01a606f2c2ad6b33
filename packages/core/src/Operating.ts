/**
 * The part of a broker that people and programs change runs by: cancellation, other due times and priorities, and what is
 * paused or disabled.
 *
 * This is for those who write a backend; applications use `TaskManager`.
 *
 * @since 0.1.0
 */
import type { Effect } from "effect"
import type { RunId } from "./internal/run.js"
import type { BackendError } from "./TaskError.js"
import type { Encoded as EncodedRun } from "./TaskRun.js"

/**
 * What became of one cancellation. `Cancelled` gives the final record; `Requested` means that a consumer holds the run and
 * will be told; `Ended` that the run had ended before; `Unknown` that there is no such run.
 *
 * @since 0.1.0
 * @category models
 */
export type CancelResult =
  | { readonly _tag: "Cancelled"; readonly run: EncodedRun; readonly previous: "queued" | "scheduled" }
  | { readonly _tag: "Requested" }
  | { readonly _tag: "Ended" }
  | { readonly _tag: "Unknown" }

/**
 * A change of a run that waits: fields that are not given stay. `dueAt` later than `now` makes it `scheduled`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Edit {
  readonly ids: ReadonlyArray<RunId>
  readonly priority: number | null
  readonly dueAt: number | null
  readonly now: number
}

/**
 * What became of one edit. `Edited` gives the new record, and the state that the run waited in before; `Running` means that a
 * consumer holds the run, and nothing was changed.
 *
 * @since 0.1.0
 * @category models
 */
export type EditResult =
  | { readonly _tag: "Edited"; readonly run: EncodedRun; readonly previous: "queued" | "scheduled" }
  | { readonly _tag: "Running" }
  | { readonly _tag: "Ended" }
  | { readonly _tag: "Unknown" }

/**
 * What an operator has decided about a queue or a task. Of what is `paused` no run is claimed. The runs of a task that is
 * `disabled` end as `aborted` when they are due.
 *
 * @since 0.1.0
 * @category models
 */
export type Control =
  | { readonly of: "queue"; readonly name: string; readonly state: "paused" }
  | { readonly of: "task"; readonly name: string; readonly state: "paused" | "disabled" }

/**
 * What a broker does for operators.
 *
 * @since 0.1.0
 * @category models
 */
export interface Operations {
  /**
   * Cancels runs: waiting ones at once (they enter the history as `cancelled`), running ones by asking their consumer.
   * The results stand in the order of the ids.
   */
  readonly cancel: (request: {
    readonly ids: ReadonlyArray<RunId>
    readonly reason: string
    readonly now: number
  }) => Effect.Effect<ReadonlyArray<CancelResult>, BackendError>

  /** Changes runs that wait. The results stand in the order of the ids. */
  readonly edit: (edit: Edit) => Effect.Effect<ReadonlyArray<EditResult>, BackendError>

  /** Adds and removes controls, durably, for all consumers. */
  readonly control: (changes: {
    readonly add: ReadonlyArray<Control>
    readonly remove: ReadonlyArray<Control>
  }) => Effect.Effect<void, BackendError>

  /** The controls in force. */
  readonly controls: Effect.Effect<ReadonlyArray<Control>, BackendError>
}
