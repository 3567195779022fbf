import { afterAll, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startGateway } from "../../testing/gateway.ts";
import { callTool } from "../../testing/mcp.ts";
import { Directory, walk } from "./beneath.ts";
import { descriptorsHere } from "./ground.ts";

const nest = mkdtempSync(join(tmpdir(), "workspace-races-"));
const root = join(nest, "root");
const outside = join(nest, "outside");
for (const dir of [join(root, "a"), outside]) mkdirSync(dir, { recursive: true });
for (const name of ["x.md", "only-outside.md"]) writeFileSync(join(outside, name), "OUTSIDE");
writeFileSync(join(root, "a/x.md"), "inside");
afterAll(() => rmSync(nest, { recursive: true }));

/** Another program that swaps the directory for a link out of the root and back, as fast as it can. */
const startSwapping = () =>
  Bun.spawn([process.execPath, "-e", swapper, root, outside], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });

const swapper = `
  const { renameSync, symlinkSync, unlinkSync } = require("node:fs");
  const [root, outside] = process.argv.slice(-2);
  let swaps = 0;
  process.on("SIGTERM", () => { console.log(swaps); process.exit(0); });
  const turn = () => {
    for (let n = 0; n < 50; n++, swaps++) {
      renameSync(root + "/a", root + "/b");
      symlinkSync(outside, root + "/a");
      unlinkSync(root + "/a");
      renameSync(root + "/b", root + "/a");
    }
    setImmediate(turn);
  };
  turn();`;

const stop = async (child: ReturnType<typeof startSwapping>): Promise<number> => {
  child.kill("SIGTERM");
  return Number(await child.stdout.text());
};

describe("while a directory on the way is swapped for a link out of the root, again and again,", () => {
  test("2,000 reads, lists and writes see and touch the root alone", async () => {
    const gateway = await startGateway();
    const { robo } = gateway;
    const lists = { read: [".md"], write: [".md"], deny: [] };
    gateway.parts.gateway().mcp.workspaces[robo.projectId] = { root, ...lists };
    gateway.parts.gateway().limits.mcp.requestsPerMinute = null;
    const swapping = startSwapping();
    const ends = new Map<string, number>();
    const ask = async (n: number): Promise<void> => {
      const args = { project_id: robo.projectId };
      const [tool, more] =
        n % 5 === 0
          ? (["workspace_write_file", { path: `a/w${n % 7}.md`, content: "PLANTED" }] as const)
          : n % 5 === 1
            ? (["workspace_list", { path: "a" }] as const)
            : (["workspace_read_file", { path: "a/x.md" }] as const);
      const { result, error } = await callTool(robo, tool, { ...args, ...more });
      const text = JSON.stringify(result ?? error);
      expect(text).not.toContain("OUTSIDE");
      expect(text).not.toContain("only-outside");
      const code =
        result?.isError === true ? (/^[a-z_]+/.exec(result.content[0]?.text ?? "")?.[0] ?? "") : "ok";
      ends.set(`${tool} ${code}`, (ends.get(`${tool} ${code}`) ?? 0) + 1);
    };
    for (let n = 0; n < 2_000; n += 8) await Promise.all(Array.from({ length: 8 }, (_, i) => ask(n + i)));
    expect(await stop(swapping)).toBeGreaterThan(1_000);
    await gateway.close();
    // Some got through and some met the link: otherwise there was no race.
    expect(ends.get("workspace_read_file ok") ?? 0).toBeGreaterThan(0);
    expect(ends.get("workspace_read_file not_found") ?? 0).toBeGreaterThan(0);
    expect([...ends.keys()].filter((end) => end.endsWith("internal"))).toEqual([]);
    expect(readdirSync(outside).sort()).toEqual(["only-outside.md", "x.md"]);
    expect(readFileSync(join(outside, "x.md"), "utf8")).toBe("OUTSIDE");
  }, 60_000);
});

describe("a system whose descriptors have no names", () => {
  test("opens nothing behind a link either", async () => {
    symlinkSync(outside, join(root, "link"));
    symlinkSync(join(outside, "x.md"), join(root, "link.md"));
    for (const descriptors of [null, descriptorsHere()]) {
      const ground = { descriptors, own: [] };
      await expect(Directory.openRoot(root, ground).then((opened) => walk(opened, ["link"]))).rejects.toThrow(
        "no directory",
      );
      await using opened = await Directory.openRoot(root, ground);
      await expect(opened.openFile("link.md")).rejects.toThrow("links are never followed");
      await using inner = await walk(await Directory.openRoot(root, ground), ["a"]);
      const file = await inner?.openFile("x.md");
      expect(await file?.handle.readFile("utf8")).toBe("inside");
      await file?.handle.close();
      expect(await inner?.openFile("none.md")).toBeNull();
    }
  });
});

describe("a gateway that is killed while it writes", () => {
  test("leaves the old content or the new, whole", async () => {
    const writer = `
      const { Directory } = await import(${JSON.stringify(join(import.meta.dir, "beneath.ts"))});
      const { descriptorsHere } = await import(${JSON.stringify(join(import.meta.dir, "ground.ts"))});
      const directory = await Directory.openRoot(process.argv.at(-1), { descriptors: descriptorsHere(), own: [] });
      for (let n = 0; ; n++) {
        await directory.lay(".specgate-x.partial", Buffer.alloc(500_000, "abcdefghij"[n % 10]), null);
        await directory.publish(".specgate-x.partial", "whole.md", await directory.find("whole.md"));
        await directory.sync();
        if (n === 1) console.log("going");
      }`;
    for (let round = 0; round < 12; round++) {
      const child = Bun.spawn([process.execPath, "-e", writer, root], { stdout: "pipe", stderr: "inherit" });
      await child.stdout.getReader().read();
      await Bun.sleep(round * 7);
      child.kill("SIGKILL");
      await child.exited;
      const content = readFileSync(join(root, "whole.md"), "utf8");
      expect(content.length).toBe(500_000);
      expect(new Set(content).size).toBe(1);
    }
  });
});
