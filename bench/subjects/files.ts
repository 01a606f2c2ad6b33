import fs from "node:fs/promises"
import os from "node:os"
import path from "node:path"

/** A folder for the database files of one process. Each queue is a file of its own, and the next one takes its place. */
export interface Files {
  readonly fresh: () => Promise<string>
  readonly remove: () => Promise<void>
}

export const make = (): Files => {
  let folder: string | undefined
  const remove = async () => {
    if (folder !== undefined) {
      await fs.rm(folder, { recursive: true, force: true })
      folder = undefined
    }
  }
  const fresh = async () => {
    await remove()
    folder = await fs.mkdtemp(path.join(os.tmpdir(), "queue-"))
    return path.join(folder, "queue.db")
  }
  return { fresh, remove }
}
