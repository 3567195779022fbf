/** A gateway for MCP clients: a project, its owner and an editor with a browser each, and a runner that works in it. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Provider } from "../../src/testing/provider.ts";
import { answer } from "../../src/testing/provider-answers.ts";
import { binary } from "../build.ts";
import { type Gateway, type Surroundings, serve, tokenOf } from "../gateway.ts";
import { type Client, output } from "./caller.ts";
import { eventually, expect } from "./checks.ts";
import { type Person, signIn } from "./people.ts";
import { Browser } from "./people-browser.ts";

const owner: Person = { email: "olga@example.com", password: "a password of some length" };
const editor: Person = { email: "ed@example.com", password: "another one of some length" };
const yaml = `prices: { "openai/*": { input: 1, output: 2 } }\n`;
const runnerScope =
  "mcp:read mcp:write control:read artifacts:read artifacts:write approvals:request approvals:consume usage:read";

export class McpPlace {
  private constructor(
    readonly gateway: Gateway,
    readonly surroundings: Surroundings,
    readonly projectId: string,
    /** Signed in. */
    readonly owner: Browser,
    /** Signed in. */
    readonly editor: Browser,
    readonly runner: Client,
  ) {}

  static async open(dir: string, provider: Provider): Promise<McpPlace> {
    mkdirSync(dir);
    writeFileSync(join(dir, "password"), owner.password, { mode: 0o600 });
    writeFileSync(join(dir, "specgate.yaml"), yaml);
    provider.script("desk", answer());
    const env = {
      OPENAI_API_KEY: "sk-smoke",
      OPENAI_BASE_URL: provider.url,
      SPECGATE_ADMIN_EMAIL: owner.email,
      SPECGATE_ADMIN_PASSWORD_FILE: join(dir, "password"),
    };
    const surroundings = { cwd: dir, env };
    const gateway = await serve([], surroundings);
    try {
      return await McpPlace.#furnish(gateway, surroundings);
    } catch (error) {
      await gateway.stop("SIGKILL");
      throw error;
    }
  }

  static async #furnish(gateway: Gateway, surroundings: Surroundings): Promise<McpPlace> {
    const atOwner = new Browser(gateway.url);
    // The configuration makes the administrator a moment after the gateway is ready.
    const isIn = async () => {
      await signIn(atOwner, owner).catch(() => undefined);
      return (await atOwner.fetch("/api/v1/me")).ok;
    };
    expect(await eventually(isIn, (is) => is, 20_000, 300), "the owner cannot sign in");
    const local = async (...args: string[]) => JSON.parse(await output([...args, "--json"], surroundings));
    const project = await local("project", "create", "Desk", "--owner", owner.email);
    const kind = ["--kind", "runner", "--project", project.id, "--scope", runnerScope];
    const runner = await local("client", "create", "--name", "robo", ...kind);
    const { id: editorId } = await createPerson(editor, surroundings);
    const path = `/api/v1/projects/${project.id}/members/${editorId}`;
    const added = await atOwner.fetch(path, { method: "PUT", json: { role: "editor" } });
    expect(added.ok, `the editor is no member: ${added.status} ${await added.text()}`);
    const atEditor = new Browser(gateway.url);
    await signIn(atEditor, editor);
    return new McpPlace(gateway, surroundings, project.id, atOwner, atEditor, runner);
  }

  get url(): URL {
    return new URL("/mcp", this.gateway.url);
  }

  /** The runner's token; all that it may unless told. */
  token(scope?: string): Promise<string> {
    return tokenOf(this.gateway, this.runner, scope === undefined ? {} : { scope });
  }
}

/** Passwords come by standard input alone. */
async function createPerson(
  { email, password }: Person,
  { cwd, env }: Surroundings,
): Promise<{ id: string }> {
  const child = Bun.spawn([binary, "user", "create", email, "--password-stdin", "--json"], {
    cwd,
    env: { PATH: process.env.PATH ?? "", HOME: cwd, ...env },
    stdin: new Blob([password]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [said, complaint] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect(child.exitCode === 0, `specgate user create exited with ${child.exitCode}: ${complaint}`);
  return JSON.parse(said);
}
