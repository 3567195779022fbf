import { defineConfig } from "drizzle-kit";

/** `bunx drizzle-kit generate --config scripts/drizzle.config.ts`, then `bun scripts/migrations.ts`. */
export default defineConfig({ dialect: "postgresql", schema: "./src/db/schema.ts", out: "./drizzle" });
