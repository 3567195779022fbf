import { afterAll, afterEach, describe, expect, spyOn, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asc, eq } from "drizzle-orm";
import { audit } from "../../db/schema.ts";
import { startGateway } from "../../testing/gateway.ts";
import { callTool } from "../../testing/mcp.ts";
import { Directory } from "./beneath.ts";
import { DiskTurns } from "./disk-turns.ts";

const gateway = await startGateway();
const { robo, mallory, database } = gateway;
const root = mkdtempSync(join(tmpdir(), "workspace-slow-"));
const lists = { root, read: [".md"], write: [".md"], deny: [] };
gateway.parts.gateway().mcp.workspaces[robo.projectId] = lists;
afterAll(async () => {
  await gateway.close();
  rmSync(root, { recursive: true });
});

const write = async (path: string, content = "x"): Promise<string> => {
  const { result } = await callTool(robo, "workspace_write_file", {
    project_id: robo.projectId,
    path,
    content,
  });
  return result?.isError === true ? (/^[a-z_]+/.exec(result.content[0]?.text ?? "")?.[0] ?? "?") : "ok";
};
const rows = async (path: string) => {
  const found = await database.db.select().from(audit).where(eq(audit.subject, path)).orderBy(asc(audit.id));
  return found.map(({ action, outcome }) => `${action} ${outcome}`);
};
/** How long the rest of the gateway takes meanwhile, for somebody else. */
const others = async (): Promise<{ statuses: number[]; ms: number }> => {
  const startedAt = performance.now();
  const asked = [mallory.fetch("/readyz"), mallory.fetch(`/api/v1/projects/${mallory.projectId}`)];
  const [{ status }, ...answers] = await Promise.all([callTool(mallory, "project_list"), ...asked]);
  return { statuses: [status, ...answers.map((answer) => answer.status)], ms: performance.now() - startedAt };
};
const until = async (holds: () => Promise<boolean>) => {
  for (let n = 0; n < 800 && !(await holds()); n++) await Bun.sleep(25);
};

describe("a workspace whose disk hangs", () => {
  const gate = { open: Promise.withResolvers<void>() };
  const { lay, publish } = Directory.prototype;
  const spies: { mockRestore(): void }[] = [];
  afterEach(() => {
    gate.open.resolve();
    gate.open = Promise.withResolvers<void>();
    for (const spy of spies.splice(0)) spy.mockRestore();
  });

  test("while it takes the bytes holds up its own writers, and nobody else", async () => {
    spies.push(
      spyOn(Directory.prototype, "lay").mockImplementation(async function (this: Directory, ...given) {
        await gate.open.promise;
        return lay.apply(this, given);
      }),
    );
    const writers = Array.from({ length: 40 }, (_, n) => write(`lay-${n}.md`));
    await Bun.sleep(500);
    const { statuses, ms } = await others();
    expect(statuses).toEqual([200, 200, 200]);
    expect(ms).toBeLessThan(2_000);
    const ends: string[] = [];
    for (const writer of writers) void writer.then((end) => ends.push(end));
    await until(async () => ends.length >= 36);
    expect(ends).toEqual(Array<string>(36).fill("workspace_busy"));
    gate.open.resolve();
    const all = await Promise.all(writers);
    expect(all.filter((end) => end === "ok")).toHaveLength(4);
  }, 60_000);

  test("in the last step of writes lets go of the database, and the rows still say what it came to", async () => {
    spies.push(
      spyOn(Directory.prototype, "publish").mockImplementation(async function (this: Directory, ...given) {
        await gate.open.promise;
        return publish.apply(this, given);
      }),
    );
    const paths = Array.from({ length: 12 }, (_, n) => `name-${n}.md`);
    const ends = Promise.all(paths.map((path) => write(path)));
    await Bun.sleep(500);
    const { statuses, ms } = await others();
    expect(statuses).toEqual([200, 200, 200]);
    expect(ms).toBeLessThan(2_000);
    // Before the database would end by itself whoever keeps a transaction waiting (10 s).
    await Bun.sleep(7_000);
    const [idle] = await database.sql`
      select count(*)::int as n from pg_stat_activity where state like 'idle in transaction%' and datname = current_database()`;
    expect(idle?.n).toBe(0);
    const all = await ends;
    expect(new Set(all)).toEqual(new Set(["workspace_slow", "workspace_busy"]));
    gate.open.resolve();
    const late = paths.filter((_, n) => all[n] === "workspace_slow");
    expect(late).toHaveLength(4);
    for (const path of late) {
      await until(async () => (await rows(path)).length === 2);
      expect(await rows(path)).toEqual(["workspace.write_begun ok", "workspace.file_written ok"]);
      expect(readFileSync(join(root, path), "utf8")).toBe("x");
    }
    const [refused = ""] = paths.filter((_, n) => all[n] === "workspace_busy");
    expect(await rows(refused)).toEqual([]);
    expect(existsSync(join(root, refused))).toBe(false);
    expect(await write(refused)).toBe("ok");
  }, 60_000);

  test("or has the same file written elsewhere refuses at once, and can be asked again", async () => {
    const held = Promise.withResolvers<void>();
    const hold = database.sql.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(hashtextextended(${`workspace ${root}/one.md`}, 0))`;
      await held.promise;
    });
    await Bun.sleep(100);
    const startedAt = performance.now();
    const ends = await Promise.all(Array.from({ length: 40 }, () => write("one.md")));
    expect(new Set(ends)).toEqual(new Set(["busy"]));
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    held.resolve();
    await hold;
    expect(await write("one.md")).toBe("ok");
  });
});

describe("turns at a disk", () => {
  test("are given on in their order, refused when they take too long, and kept until the disk has answered", async () => {
    const turns = new DiskTurns({ atOnce: 1, waitMs: 100, deedMs: 50 });
    const gate = Promise.withResolvers<void>();
    const ends: string[] = [];
    const ask = (root: string, name: string, deed: Promise<void>) =>
      turns
        .take(root, () => deed)
        .then(
          () => ends.push(`${name} ok`),
          (error) => ends.push(`${name} ${error.code}`),
        );
    const first = ask("/a", "first", gate.promise);
    const second = ask("/a", "second", Promise.resolve());
    await ask("/b", "elsewhere", Promise.resolve());
    await Promise.all([first, second]);
    expect(ends).toEqual(["elsewhere ok", "first workspace_slow", "second workspace_busy"]);
    const third = ask("/a", "third", Promise.resolve());
    gate.resolve();
    await third;
    await ask("/a", "fourth", Promise.reject(Object.assign(new Error("no"), { code: "no" })));
    await ask("/a", "fifth", Promise.resolve());
    expect(ends.slice(3)).toEqual(["third ok", "fourth no", "fifth ok"]);
  });
});
