/*
 * In the repository the packages' exports name TypeScript sources. What is measured is what users install: the JavaScript
 * that `tsc` makes of them.
 */
import type { ResolveHook } from "node:module"

export const resolve: ResolveHook = async (specifier, context, next) => {
  const found = await next(specifier, context)
  const url = found.url.replace(/\/packages\/(\w+)\/src\/(.+)\.ts$/, "/packages/$1/dist/$2.js")
  return url === found.url ? found : { ...found, url, format: "module" }
}
