/**
 * The versions of the tables of a backend.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The tables in the database are of another version than this code knows.
 *
 * @since 0.1.0
 * @category errors
 */
export class SchemaVersionError extends Schema.TaggedError<SchemaVersionError>(
  "@effect-tasks/sql/SchemaVersion/SchemaVersionError"
)("SchemaVersionError", { backend: Schema.String, found: Schema.Number, known: Schema.Number }) {
  override get message(): string {
    return this.found > this.known
      ? `the ${this.backend} schema has version ${this.found}, newer than the ${this.known} that this program knows: upgrade the program`
      : `the ${this.backend} schema has version ${this.found}, older than the ${this.known} that this program needs: run the migrations`
  }
}
