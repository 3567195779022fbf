/**
 * Resources and prompts as the protocol asks for them: lists over all sources, pages, reads, and the completion of what is
 * being typed.
 *
 * What a caller may see is each source's own affair. What is not there and what is another's are told in the same words.
 */
import type { ServerContext } from "@modelcontextprotocol/server";
import { Failure } from "../../platform/failure.ts";
import type {
  Asking,
  PromptSource,
  Resource,
  ResourceContents,
  ResourceSource,
} from "../../platform/mcp-sources.ts";
import type { Cursors } from "../../platform/page.ts";
import { nearest } from "./arguments.ts";
import { unknownResource, wrongParams } from "./refusals.ts";
import type { ToolSight } from "./standing-for.ts";

export type SourcesNeeds = {
  resources: readonly ResourceSource[];
  prompts: readonly PromptSource[];
  cursors: Cursors;
};

const valuesMax = 100;
const listedMax = 50;

export class Sources {
  readonly #needs: SourcesNeeds;
  readonly #prompts: ReadonlyMap<string, PromptSource>;

  constructor(needs: SourcesNeeds) {
    this.#needs = needs;
    this.#prompts = new Map(needs.prompts.map((prompt) => [prompt.name, prompt]));
  }

  /** A page of one source, as long as has room; its cursor leads on within it, and then to the next. */
  async listResources(
    asking: Asking,
    sight: ToolSight,
    { cursor, bytesMax }: { cursor: string | undefined; bytesMax: () => number },
  ) {
    const { resources: sources, cursors } = this.#needs;
    const list = `mcp.resources ${asking.principal.id}`;
    const [first = "0", from = ""] = cursor === undefined ? [] : openCursor(cursors, list, cursor);
    let inner = from === "" ? null : from;
    for (let at = Number(first); at < sources.length; at++, inner = null) {
      const source = sources[at];
      if (source?.tools !== undefined && !(await sight.admits(source.tools.list, {}))) continue;
      if (source === undefined) break;
      const page = await pageWithin(bytesMax(), (rows) => source.list(asking, inner, rows));
      const next = page.nextCursor === null ? [String(at + 1), ""] : [String(at), page.nextCursor];
      const isLast = page.nextCursor === null && at + 1 === sources.length;
      if (page.resources.length === 0 && page.nextCursor === null) continue;
      return { resources: page.resources, ...(isLast ? {} : { nextCursor: cursors.seal(list, next) }) };
    }
    const resources: Resource[] = [];
    return { resources };
  }

  listTemplates(sight: ToolSight, cursor: string | undefined) {
    if (cursor !== undefined) throw noSuchCursor();
    const seen = this.#needs.resources.filter(({ tools }) => tools === undefined || sight.sees(tools.read));
    return { resourceTemplates: seen.flatMap(({ templates }) => templates) };
  }

  async readResource(
    uri: string,
    asking: Asking,
    sight: ToolSight,
    isModern: boolean,
  ): Promise<{ contents: ResourceContents[] }> {
    for (const source of this.#needs.resources) {
      if (!(await mayRead(source, uri, sight))) continue;
      const contents = await source.read(uri, asking).catch(nullWhenMissing);
      if (contents !== null) return { contents };
    }
    throw unknownResource(uri, isModern);
  }

  listPrompts(sight: ToolSight, cursor: string | undefined) {
    if (cursor !== undefined) throw noSuchCursor();
    const seen = this.#needs.prompts.filter((prompt) => isSeen(prompt, sight));
    return {
      prompts: seen.map(({ name, title, description, arguments: args }) => ({
        name,
        ...(title === undefined ? {} : { title }),
        ...(description === undefined ? {} : { description }),
        arguments: args,
      })),
    };
  }

  async getPrompt(
    name: string,
    given: Readonly<Record<string, string>>,
    { sight, context, ...asking }: Asking & { sight: ToolSight; context: ServerContext },
  ) {
    const prompt = this.#prompts.get(name);
    if (prompt === undefined || !isSeen(prompt, sight)) throw unknownPrompt(name);
    requireArguments(prompt, given);
    for (const tool of prompt.tools ?? []) if (!(await sight.admits(tool, given))) throw unknownPrompt(name);
    return prompt.get(given, asking, context);
  }

  async complete(asked: Completion, asking: Asking, sight: ToolSight) {
    const { ref, argument } = asked;
    const source = ref.type === "ref/prompt" ? this.#prompts.get(ref.name) : this.#templated(ref.uri);
    if (source === undefined || !isSeen(source, sight))
      throw wrongParams("There is nothing of this name to complete.", "unknown");
    const isAdmitted = await mayList(source, sight);
    const found = isAdmitted ? await source.complete?.(argument.name, argument.value, asking) : null;
    return completionOf(found ?? []);
  }

  #templated(uri: string): ResourceSource | undefined {
    return this.#needs.resources.find(({ templates }) =>
      templates.some(({ uriTemplate }) => uriTemplate === uri),
    );
  }
}

type ResourcePage = Awaited<ReturnType<ResourceSource["list"]>>;

async function pageWithin(
  bytesMax: number,
  read: (rowsMax: number) => Promise<ResourcePage>,
): Promise<ResourcePage> {
  for (let rowsMax = listedMax; ; rowsMax = Math.ceil(rowsMax / 2)) {
    const page = await read(rowsMax);
    if (rowsMax === 1 || Buffer.byteLength(JSON.stringify(page.resources)) <= bytesMax) return page;
  }
}

const isSeen = ({ tools }: PromptSource | ResourceSource, sight: ToolSight): boolean => {
  const names = tools === undefined || "list" in tools ? [tools?.list, tools?.read] : tools;
  return names.every((name) => name === undefined || sight.sees(name));
};

function completionOf(found: readonly string[]) {
  const values = found.slice(0, valuesMax);
  return { completion: { values, total: found.length, hasMore: found.length > values.length } };
}

/** Ids are completed out of all that a caller sees: by the tools that would list it, without any argument. */
async function mayList({ tools }: PromptSource | ResourceSource, sight: ToolSight): Promise<boolean> {
  const names = tools === undefined ? [] : "list" in tools ? [tools.list] : tools;
  for (const name of names) if (!(await sight.admits(name, {}))) return false;
  return true;
}

/** By the tool that would read it, with the same argument. */
async function mayRead(
  { tools, templates }: ResourceSource,
  uri: string,
  sight: ToolSight,
): Promise<boolean> {
  if (tools === undefined) return true;
  const isIts = templates.some(({ uriTemplate }) => uri.startsWith(uriTemplate.split("{")[0] ?? ""));
  return isIts && sight.admits(tools.read, { [tools.argument]: uri.slice(uri.lastIndexOf("/") + 1) });
}

export type Completion = {
  readonly ref:
    | { readonly type: "ref/prompt"; readonly name: string }
    | { readonly type: "ref/resource"; readonly uri: string };
  readonly argument: { readonly name: string; readonly value: string };
};

/** The place that a cursor of this list leads to; it is the caller's own, and no other list's. */
export function openCursor(cursors: Cursors, list: string, cursor: string): string[] {
  try {
    return cursors.open(list, cursor);
  } catch {
    throw noSuchCursor();
  }
}

const noSuchCursor = () => wrongParams("This is no cursor of this list. Leave `cursor` out to begin anew.");

const nullWhenMissing = (error: unknown): null => {
  if (error instanceof Failure && error.kind === "missing") return null;
  throw error;
};

const unknownPrompt = (name: string) =>
  wrongParams(`Unknown prompt: ${name.slice(0, 128).toWellFormed()}`, "unknown");

function requireArguments(prompt: PromptSource, given: Readonly<Record<string, string>>): void {
  const known = prompt.arguments.map(({ name }) => name);
  const strange = Object.keys(given).find((name) => !known.includes(name));
  if (strange !== undefined) {
    const near = nearest(strange, known);
    const hint = near === null ? `It takes: ${known.join(", ") || "none"}.` : `Did you mean \`${near}\`?`;
    throw wrongParams(`The prompt has no argument \`${strange.slice(0, 64).toWellFormed()}\`. ${hint}`);
  }
  const missing = prompt.arguments.find(({ name, required }) => required && !Object.hasOwn(given, name));
  if (missing !== undefined) throw wrongParams(`The prompt needs the argument \`${missing.name}\`.`);
}
