/** `specgate connect` as a desktop app starts it: a program with a pipe, and the MCP SDK's own client at its other end. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { binary } from "../build.ts";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";
import type { Place } from "./identity.ts";
import { connectDevice } from "./people.ts";

type Options = NonNullable<ConstructorParameters<typeof Client>[1]>;

export async function connect(check: Check, place: Place): Promise<void> {
  const eras: [string, Options][] = [
    ["as it comes", {}],
    ["finding out the era by itself", { versionNegotiation: { mode: "auto" } }],
  ];
  for (const [name, options] of eras) {
    await check(
      `specgate connect: an app (${name}) signs in by its one tool, and then has the gateway's`,
      () => signsIn(place, name.replaceAll(" ", "-"), options),
    );
  }
}

async function signsIn(place: Place, name: string, options: Options): Promise<string> {
  const home = join(place.surroundings.cwd, `connect-${name}`);
  mkdirSync(home);
  const args = ["connect", "--url", place.gateway.url];
  const env = { HOME: home, PATH: process.env.PATH ?? "" };
  const transport = new StdioClientTransport({ command: binary, args, env, cwd: home });
  const announced: string[][] = [];
  const onChanged = (error: Error | null, tools: { name: string }[] | null) => {
    if (error === null) announced.push((tools ?? []).map((tool) => tool.name));
  };
  const listChanged = { tools: { autoRefresh: true, debounceMs: 10, onChanged } };
  const client = new Client({ name: "a desktop app", version: "1" }, { ...options, listChanged });
  await client.connect(transport);
  try {
    expectEqual(await names(client), ["sign_in"], "the tools before");
    const said = JSON.stringify(await client.callTool({ name: "sign_in", arguments: {} }));
    const link = /https?:[^\s"\\]+/.exec(said)?.[0];
    if (link === undefined) throw new Error(`sign_in answered without a link: ${said}`);
    await connectDevice(place.browser, link);
    const told = await eventually(
      async () => announced.length,
      (count) => count > 0,
      15_000,
    );
    expect(told > 0, "the changed list was not announced within 15 s");
    const after = await names(client);
    expect(after.includes("whoami") && !after.includes("sign_in"), `the tools after: ${after.join(", ")}`);
    const who = JSON.stringify(await client.callTool({ name: "whoami", arguments: {} }));
    expect(who.includes("usr_"), `whoami answered ${who}`);
    return `${after.length} tools`;
  } finally {
    await client.close();
  }
}

const names = async (client: Client): Promise<string[]> =>
  (await client.listTools()).tools.map((tool) => tool.name);
