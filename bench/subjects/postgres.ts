import pg from "pg"

/** The database; every subject has a schema of its own in it. */
export const url = process.env.DATABASE_URL ?? "postgres://postgres@127.0.0.1:5432/test"

/** As many connections as every subject gets. */
export const connections = 10

/** A connection that fails shows in the query that needed it. */
export const pool = (): pg.Pool => {
  const ignore = () => {}
  const pool = new pg.Pool({ connectionString: url, max: connections })
  return pool.on("error", ignore).on("connect", (client) => client.on("error", ignore))
}

/** One statement on a connection of its own. */
export const query = async (text: string): Promise<ReadonlyArray<Record<string, unknown>>> => {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 })
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(text)).rows
  } finally {
    await client.end()
  }
}

export const dropSchema = async (schema: string): Promise<void> => {
  await query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)
}
