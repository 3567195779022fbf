/**
 * Things with an id as MCP resources, `specgate://<kind>s/{id}`: a list of the newest that a caller sees, each to be read
 * with the rights that reading it anywhere needs. What a caller may not see is not there, and neither is what is not
 * spelled as an id; nothing of a URI but the id is ever looked at.
 */
import { Failure } from "./failure.ts";
import { enterPlace, type Locate } from "./guard.ts";
import { isId, type Prefix } from "./ids.ts";
import type { Resource, ResourceContents, ResourceSource, ResourceTemplate } from "./mcp-sources.ts";
import { type Cursors, pageOf } from "./page.ts";
import type { Principal } from "./principal.ts";

export type ThingResourcesNeeds = { locate: Locate; cursors: Cursors };

export type Things = {
  readonly prefix: Prefix;
  /** As `Locate` knows it. */
  readonly kind: string;
  readonly template: Omit<ResourceTemplate, "uriTemplate">;
  /** Newest first: those with ids from `from` on and below `below`. */
  newest(
    principal: Principal,
    range: { from: string; below: string; rowsMax: number },
  ): Promise<(Omit<Resource, "uri"> & { id: string })[]>;
  /** Throws `not_found`. */
  read(id: string): Promise<{ mimeType: string; text: string }>;
};

const completedMax = 20;
const idDigits = 32;

export function thingResources({ locate, cursors }: ThingResourcesNeeds, things: Things): ResourceSource {
  const { prefix, kind } = things;
  const home = `specgate://${kind}s/`;
  return {
    templates: [{ ...things.template, uriTemplate: `${home}{id}` }],

    async list({ principal }, cursor, rowsMax) {
      const list = `${kind} resources ${principal.id}`;
      const [below = endOf(prefix)] = cursor === null ? [] : cursors.open(list, cursor);
      const range = { from: `${prefix}_`, below, rowsMax: rowsMax + 1 };
      const page = pageOf(await things.newest(principal, range), rowsMax, ({ id }) =>
        cursors.seal(list, [id]),
      );
      const resources = page.data.map(({ id, ...shown }) => ({ uri: home + id, ...shown }));
      return { resources, nextCursor: page.next_cursor };
    },

    async read(uri, { principal }): Promise<ResourceContents[] | null> {
      const id = uri.startsWith(home) ? uri.slice(home.length) : "";
      if (!isId(prefix, id)) return null;
      try {
        await enterPlace(
          principal,
          { scopes: ["mcp:read"], least: "viewer", at: kind, id, isRead: true },
          locate,
        );
        return [{ uri, ...(await things.read(id)) }];
      } catch (error) {
        if (error instanceof Failure && error.kind === "missing") return null;
        throw error;
      }
    },

    async complete(variable, typed, { principal }) {
      const range = variable === "id" ? rangeOf(prefix, typed) : null;
      if (range === null) return [];
      const found = await things.newest(principal, { ...range, rowsMax: completedMax });
      return found.map(({ id }) => id);
    },
  };
}

/** `g` stands above every hexadecimal digit. */
const endOf = (prefix: Prefix): string => `${prefix}_g`;

/** The ids that begin so; null when none does. */
export function rangeOf(prefix: Prefix, typed: string): { from: string; below: string } | null {
  const start = `${prefix}_`;
  if (start.startsWith(typed)) return { from: start, below: endOf(prefix) };
  const digits = typed.slice(start.length);
  if (!typed.startsWith(start) || !/^[0-9a-f]{1,32}$/.test(digits)) return null;
  return { from: start + digits.padEnd(idDigits, "0"), below: `${start}${digits.padEnd(idDigits, "f")}g` };
}
