import { expect, test } from "bun:test";
import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { scratchDir } from "../testing/cluster.ts";
import { runAt } from "../testing/terminal.ts";

test("doctor says of each workspace where it really is and what is open, or why it cannot work", async () => {
  const cwd = realpathSync(scratchDir());
  const ids = ["0", "1", "2"].map((digit) => `prj_${digit.repeat(32)}`);
  for (const dir of ["data", "one"]) mkdirSync(join(cwd, dir));
  symlinkSync(join(cwd, "one"), join(cwd, "link"));
  writeFileSync(join(cwd, "file"), "");
  const roots = ["link", "gone", "file"].map((name) => join(cwd, name));
  const workspaces = ids.map((id, n) => `    ${id}: { root: ${roots[n]}, read: [ .md ] }`).join("\n");
  writeFileSync(join(cwd, "specgate.yaml"), `mcp:\n  workspaces:\n${workspaces}\n`);
  const dir = join(cwd, "data");
  const { code, out } = await runAt(cwd, ["doctor", "--json", "--data-dir", dir], {});
  const { checks } = JSON.parse(out) as { checks: { name: string; status: string; message: string }[] };
  const said = checks
    .filter(({ name }) => name === "workspaces")
    .map(({ status, message }) => `${status} ${message}`);
  expect(said).toEqual([
    `ok ${ids[0]}: ${roots[0]} (${join(cwd, "one")}); read: .md; write: nothing`,
    `failure ${ids[1]}: there is no directory ${roots[1]}`,
    `failure ${ids[2]}: ${roots[2]} is no directory`,
  ]);
  expect(code).toBe(1);
});
