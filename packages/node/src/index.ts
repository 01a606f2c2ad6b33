/**
 * @since 0.1.0
 */
export * as NodeTasks from "./NodeTasks.js"
