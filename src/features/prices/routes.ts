/**
 * `/prices`, below `/api/v1`: for administrators.
 */
import { Elysia } from "elysia";
import { actorOf } from "../../db/audit-entry.ts";
import type { Guard, Policy } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { readJson } from "../../platform/wire-body.ts";
import { priceForm, pricesQuery } from "./contract.ts";
import type { PriceBook } from "./prices.ts";

const admins = { plane: "control", scope: "admin" } as const satisfies Policy;

export function priceRoutes({ guard, priceBook }: { guard: Guard; priceBook: PriceBook }) {
  return new Elysia({ prefix: "/api/v1" })
    .get(
      "/prices",
      guard.closed(admins, ({ call }) => priceBook.list(parseQuery(pricesQuery, call.url.searchParams))),
    )
    .put(
      "/prices",
      guard.closed(admins, async ({ request, principal, call }) =>
        priceBook.set(actorOf(principal, call), await readJson(request, priceForm)),
      ),
      { parse: "none" },
    );
}
