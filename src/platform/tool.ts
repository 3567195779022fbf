/**
 * A tool as its slice declares it, beside the routes that do the same: what it is called, what it takes and answers, what
 * its caller must hold, and the deed.
 *
 * A tool decides nothing about who may call it: whoever runs it has checked its scopes, the allowlist and the place, has
 * read `asked` by `input`, and bounds what it answers. What goes wrong is thrown as a `Failure`, as on any plane.
 */
import type { z } from "zod";
import type { Call } from "./call.ts";
import type { OpenedIn } from "./guard.ts";
import type { Principal } from "./principal.ts";
import type { ProjectRole, Scope } from "./scopes.ts";

export type Tool = {
  /** `<noun>_<verb>`, of `a-z` and single underscores: two of them end a segment. */
  readonly name: string;
  readonly title: string;
  /** For a model: what it does, when to use it, what it answers. */
  readonly description: string;
  /** All of them are needed: `mcp:read` or `mcp:write` first, and that of the same deed's HTTP route where it has its own. */
  readonly scopes: readonly Scope[];
  /** Whether it changes anything; such a tool needs `mcp:write` and is audited in its change's transaction. */
  readonly writes: boolean;
  /** Whether asking twice with the same arguments changes nothing more than once. */
  readonly repeatable: boolean;
  /** Whether what was there before may be gone afterwards; left out for what only adds. Apps ask a person by it. */
  readonly destroys?: boolean;
  /** Where it acts, by one of its arguments; left out for what lies in no project. */
  readonly place?: ToolPlace;
  /** Whether it may wait for people or for a disk, and not for the database: left out for what is done at once. */
  readonly waits?: boolean;
  /** Whether it is there at all for this caller, by what is configured now; left out for what always is. */
  readonly isOffered?: (principal: Principal) => boolean;
  readonly input: z.ZodObject;
  readonly output: z.ZodObject;
  readonly run: (opened: OpenedTool) => Promise<object>;
};

export type ToolPlace = {
  /** The least role there. */
  readonly least: ProjectRole;
  /** The kind of thing, as `Locate` knows it: `project`, `session`, `task` … */
  readonly at: string;
  /** The argument that holds its id. */
  readonly argument: string;
};

export type OpenedTool<Asked = Record<string, unknown>> = {
  readonly call: Call;
  readonly principal: Principal;
  /** Where the tool's `place` leads; null for a tool that has none. */
  readonly place: OpenedIn["place"] | null;
  readonly asked: Asked;
  /** How many bytes the whole result may have; what is more is cut, and loses what it says about its own end. */
  readonly resultBytesMax: number;
  /** Fires when the caller has left or the gateway is closing. */
  readonly signal: AbortSignal;
};

type ToolOf<Input extends z.ZodObject, Output extends z.ZodObject> = Omit<
  Tool,
  "input" | "output" | "run" | "writes" | "repeatable"
> & {
  readonly input: Input;
  readonly output: Output;
  readonly writes?: boolean;
  readonly repeatable?: boolean;
  readonly run: (opened: OpenedTool<z.infer<Input>>) => Promise<z.infer<Output>>;
};

/** One that only reads. */
export const readTool = <Input extends z.ZodObject, Output extends z.ZodObject>(
  tool: ToolOf<Input, Output>,
): Tool => ({ ...tool, writes: false, repeatable: true }) as unknown as Tool;

/** One that changes something. */
export const writeTool = <Input extends z.ZodObject, Output extends z.ZodObject>(
  tool: ToolOf<Input, Output>,
): Tool => ({ repeatable: false, ...tool, writes: true }) as unknown as Tool;
