/** How a shell reports a program that was ended by Ctrl-C. */
const exitCode = 130

/** The first signal is left to those who shut down in order; the second ends the process. */
export const exitOnSecondSignal = (): void => {
  let signals = 0
  const onSignal = () => {
    signals += 1
    if (signals === 2) {
      process.exit(exitCode)
    }
  }
  process.on("SIGINT", onSignal)
  process.on("SIGTERM", onSignal)
}
