/**
 * The part of specgate.yaml that says what MCP clients may reach: the ceiling over all tools, the files of projects, and
 * other MCP servers behind this one.
 *
 * A command is run only ever because it stands here: no API, no client and no database row can name one.
 */
import { isAbsolute, resolve } from "node:path";
import {
  defaultMcp,
  type McpConfig,
  type UpstreamConfig,
  type UpstreamLink,
  type WorkspaceConfig,
} from "./config.ts";
import { parseBaseUrl } from "./config-address.ts";
import { groundMistakes } from "./config-grounds.ts";
import { named } from "./config-models.ts";
import { parseToken } from "./config-values.ts";
import type { Entry, Page } from "./config-yaml.ts";
import { isId } from "./ids.ts";
import { Secret } from "./secret.ts";
import { secretExtensions } from "./secret-files.ts";

export function readMcp(page: Page, entry: Entry, dataDir: string): McpConfig {
  if (page.isNull(entry)) return structuredClone(defaultMcp);
  const field = page.fields(entry, ["allow", "deny", "workspaces", "upstreams"]);
  const mcp: McpConfig = {
    allow: field.allow === undefined ? [...defaultMcp.allow] : readGlobs(page, field.allow),
    deny: field.deny === undefined ? [] : readGlobs(page, field.deny),
    workspaces: field.workspaces === undefined ? named([]) : readWorkspaces(page, field.workspaces),
    upstreams: field.upstreams === undefined ? named([]) : readUpstreams(page, field.upstreams),
  };
  const where =
    field.workspaces === undefined ? new Map<string, Entry>() : new Map(page.entries(field.workspaces));
  for (const [project, sentence] of groundMistakes(mcp, dataDir))
    page.wrong(where.get(project) ?? entry, sentence);
  return mcp;
}

/** Of tools' names: `*` within a segment, `**` across; segments end at `__`. */
export const toolGlobForm = /^[A-Za-z0-9_.*-]{1,96}$/;

function readGlobs(page: Page, entry: Entry): string[] {
  const globs: string[] = [];
  for (const item of page.items(entry, "taken")) {
    const text = page.text(item);
    if (text === null) continue;
    if (toolGlobForm.test(text)) globs.push(text);
    else page.wrong(item, "not a pattern of tools' names; would be such as task_*, github__* or **");
  }
  return globs;
}

function readTexts(page: Page, entry: Entry): string[] {
  return page.items(entry).flatMap((item) => page.text(item) ?? []);
}

const extensionForm = /^\.[a-z0-9][a-z0-9_+-]{0,15}$/;

function readExtensions(page: Page, entry: Entry | undefined): string[] {
  if (entry === undefined) return [];
  return page.items(entry, "taken").flatMap((item) => {
    const text = page.text(item)?.toLowerCase();
    if (text === undefined) return [];
    if (!extensionForm.test(text)) page.wrong(item, "not a file extension; would be such as .md");
    else if (secretExtensions.has(text.slice(1)))
      page.wrong(item, "an extension of files that hold secrets, which are never open; leave it out");
    return [text];
  });
}

/** Of one segment of a path below the root. */
const segmentPatternForm = /^(?:\*\*|(?:[^*?[\]{}!\\]|\*(?!\*))+)$/;

/** `*` within a segment, and `**` for any number of them. */
const isPathPattern = (text: string): boolean =>
  text.split("/").every((part) => segmentPatternForm.test(part) && part !== "." && part !== "..");

function readPathPatterns(page: Page, entry: Entry | undefined): string[] {
  if (entry === undefined) return [];
  return page.items(entry, "taken").flatMap((item) => {
    const text = page.text(item);
    if (text === null) return [];
    if (!isPathPattern(text))
      page.wrong(item, "not a pattern of paths below the root; would be such as **/drafts/**");
    // As callers have to spell their paths; a name copied from macOS is not.
    return [text.normalize("NFC")];
  });
}

function readWorkspaces(page: Page, entry: Entry): Record<string, WorkspaceConfig> {
  if (page.isNull(entry)) return named([]);
  const workspaces: [string, WorkspaceConfig][] = [];
  for (const [project, workspace] of page.entries(entry)) {
    if (!isId("prj", project)) page.wrong(workspace, "not a project's id; would be prj_ and 32 hex digits");
    const field = page.fields(workspace, ["root", "read", "write", "deny"]);
    const root = readRoot(page, workspace, field.root);
    const read = readExtensions(page, field.read);
    const write = readExtensions(page, field.write);
    if (field.read === undefined && field.write === undefined)
      page.wrong(workspace, "names no extension; would be read: [ .md ] or write: [ .md ]");
    const deny = readPathPatterns(page, field.deny);
    if (root === null) continue;
    workspaces.push([project, { root, read, write, deny }]);
  }
  return named(workspaces);
}

function readRoot(page: Page, workspace: Entry, entry: Entry | undefined): string | null {
  if (entry === undefined) {
    page.wrong(workspace, "has no root; would be an absolute path");
    return null;
  }
  const text = page.text(entry);
  if (text === null) return null;
  if (!isAbsolute(text)) {
    page.wrong(entry, "not an absolute path; would be such as /srv/workspaces/one");
    return null;
  }
  return resolve(text);
}

/** With `__` and a tool's name behind it this must stay within 48 characters, and no alias may hold the separator. */
const aliasForm = /^[a-z0-9](?:[a-z0-9-]|_(?!_)){0,22}[a-z0-9]$|^[a-z0-9]$/;

const upstreamKeys = [
  "url",
  "bearer",
  "command",
  "env",
  "cwd",
  "allow",
  "deny",
  "pin",
  "timeout_ms",
  "result_bytes_max",
  "calls_max",
  "allow_private_network",
] as const;
type UpstreamFields = Partial<Record<(typeof upstreamKeys)[number], Entry>>;

function readUpstreams(page: Page, entry: Entry): Record<string, UpstreamConfig> {
  if (page.isNull(entry)) return named([]);
  const upstreams: [string, UpstreamConfig][] = [];
  for (const [alias, upstream] of page.entries(entry)) {
    if (!aliasForm.test(alias))
      page.wrong(
        upstream,
        "not an upstream's alias; would be up to 24 of a-z, 0-9, dash and single underscores, such as github",
      );
    const field: UpstreamFields = page.fields(upstream, upstreamKeys);
    const link = readLink(page, upstream, field);
    if (link === null) continue;
    upstreams.push([
      alias,
      {
        ...link,
        allow: field.allow === undefined ? ["**"] : readGlobs(page, field.allow),
        deny: field.deny === undefined ? [] : readGlobs(page, field.deny),
        pin: field.pin === undefined ? "approve" : readPin(page, field.pin),
        timeoutMs: (field.timeout_ms && page.integer(field.timeout_ms, 100, 600_000)) ?? 60_000,
        resultBytesMax:
          (field.result_bytes_max && page.integer(field.result_bytes_max, 1_024, 67_108_864)) ?? null,
        callsMax: (field.calls_max && page.integer(field.calls_max, 1, 1_000)) ?? 32,
      },
    ]);
  }
  return named(upstreams);
}

function readPin(page: Page, entry: Entry): UpstreamConfig["pin"] {
  const text = page.text(entry);
  if (text === "first_use" || text === "approve") return text;
  if (text !== null) page.wrong(entry, "not a way of pinning; would be first_use or approve");
  return "approve";
}

function readLink(page: Page, entry: Entry, field: UpstreamFields): UpstreamLink | null {
  if ((field.url === undefined) === (field.command === undefined)) {
    page.wrong(
      entry,
      "needs either url or command; would be url: https://…/mcp, or command: [ /path/to/server ]",
    );
    return null;
  }
  return field.url === undefined ? readCommand(page, field) : readUrl(page, field.url, field);
}

function readUrl(page: Page, entry: Entry, field: UpstreamFields): UpstreamLink | null {
  for (const key of ["env", "cwd"] as const)
    if (field[key] !== undefined)
      page.wrong(field[key], "belongs to a command; would be left out beside url");
  const isPrivateAllowed = field.allow_private_network
    ? page.flag(field.allow_private_network) === true
    : false;
  const text = page.text(entry);
  const url = text === null ? { wrong: "" } : parseBaseUrl(text, isPrivateAllowed);
  if ("wrong" in url && url.wrong !== "") page.wrong(entry, url.wrong);
  const bearer = field.bearer ? page.text(field.bearer) : null;
  const token = bearer === null ? { value: null } : parseToken(bearer);
  if (field.bearer && "wrong" in token) page.wrong(field.bearer, token.wrong);
  if ("wrong" in url || "wrong" in token) return null;
  return { kind: "http", url: url.value, bearer: token.value, allowPrivateNetwork: isPrivateAllowed };
}

const variableName = /^[A-Za-z_][A-Za-z0-9_]*$/;

function readCommand(page: Page, field: UpstreamFields): UpstreamLink | null {
  for (const key of ["bearer", "allow_private_network"] as const)
    if (field[key] !== undefined)
      page.wrong(field[key], "belongs to a url; would be left out beside command");
  const at = field.command as Entry;
  const command = readTexts(page, at);
  if (command.length === 0) return null;
  if (!isAbsolute(command[0] as string)) {
    page.wrong(at, "does not begin with an absolute path; would be such as [ /usr/local/bin/notes-mcp ]");
    return null;
  }
  const env: [string, Secret][] = [];
  for (const [name, value] of field.env === undefined ? [] : page.entries(field.env)) {
    if (!variableName.test(name)) page.wrong(value, "not a variable's name; would be such as NOTES_DIR");
    const text = page.text(value);
    if (text !== null) env.push([name, new Secret(text)]);
  }
  const cwd = field.cwd === undefined ? null : page.text(field.cwd);
  if (field.cwd !== undefined && cwd !== null && !isAbsolute(cwd))
    page.wrong(field.cwd, "not an absolute path; would be such as /srv/notes");
  return { kind: "stdio", command, env: named(env), cwd };
}
