/** Runs the gateway from source in the foreground: `npm start -- --port 9000`. Whatever follows goes to `serve`. */
import { join } from "node:path";
import { packPostgres } from "./pack.ts";

await packPostgres({ fast: true });
const main = join(import.meta.dir, "../src/main.ts");
// The gateway takes this process over, so that signals and the exit code are its own.
process.execve?.(process.execPath, [process.execPath, main, "serve", ...process.argv.slice(2)], process.env);
