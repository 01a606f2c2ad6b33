/**
 * @since 0.1.0
 */
export * as NodeExecutor from "./NodeExecutor.js"
export * as NodeLogger from "./NodeLogger.js"
export * as NodeTasks from "./NodeTasks.js"
