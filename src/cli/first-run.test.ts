import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { loadConfig } from "../platform/config-load.ts";
import { startGateway, type TestGateway } from "../testing/gateway.ts";
import { json } from "../testing/people.ts";
import { welcomeFirst } from "./first-run.ts";

let gateway: TestGateway;
let said: string[];
let running: { stop: () => void }[];
beforeEach(async () => {
  gateway = await startGateway();
  said = [];
  running = [];
});
afterEach(async () => {
  for (const one of running) one.stop();
  await gateway.close();
});

const ada = { email: "ada@example.com", password: "correct horse battery" };
const file = () => gateway.dir.file("setup-url");

/** What `serve` does once it listens. */
async function start(env: Record<string, string> = {}): Promise<void> {
  const asked = { SPECGATE_DATA_DIR: gateway.dir.path, ...env };
  const loaded = loadConfig({ env: asked, cwd: gateway.dir.path, flags: {}, terminal: false });
  if (!loaded.ok) throw new Error(loaded.mistakes.join("\n"));
  const world = { stderr: (text: string) => void said.push(text) };
  running.push(await welcomeFirst(world, loaded.config, gateway.parts, gateway.dir));
}
const linkIn = (text = ""): string => /http:\S+\/setup\?token=[\w-]{43}/.exec(text)?.[0] ?? "";
const use = (link: string) =>
  gateway.nobody.fetch("/setup", {
    method: "POST",
    headers: { "sec-fetch-site": "same-origin" },
    body: new URLSearchParams({ ...ada, token: new URL(link).searchParams.get("token") ?? "" }),
  });
const signIn = () => gateway.nobody.fetch("/api/v1/auth/login", json("POST", ada));

test("the first start prints one link, keeps it for the owner of the data dir alone, and drops it once it was used", async () => {
  await start();
  expect(said.length).toBe(1);
  const link = linkIn(said[0]);
  expect(link).toStartWith(`${gateway.url}/setup?token=`);
  expect(readFileSync(file(), "utf8")).toBe(`${link}\n`);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
  expect((await fetch(link)).status).toBe(200);
  expect((await use(link)).status).toBe(303);
  const from = performance.now();
  while (existsSync(file()) && performance.now() - from < 10_000) await Bun.sleep(50);
  expect(existsSync(file())).toBe(false);
  expect(said.length).toBe(1);
});

test("another start prints another link, and with anybody there neither prints nor keeps one", async () => {
  await start();
  await start();
  const [first, second] = said.map(linkIn);
  expect(first).not.toBe(second);
  expect(readFileSync(file(), "utf8")).toBe(`${second}\n`);
  expect((await use(second ?? "")).status).toBe(303);
  expect((await use(first ?? "")).status).toBe(403);
  await start();
  expect(said.length).toBe(2);
  expect(existsSync(file())).toBe(false);
});

test("with an address and a password file there is no link, and no second administrator ever", async () => {
  const passwordFile = gateway.dir.file("admin-password");
  const env = { SPECGATE_ADMIN_EMAIL: ada.email, SPECGATE_ADMIN_PASSWORD_FILE: passwordFile };
  writeFileSync(passwordFile, `${ada.password}\n`);
  await start(env);
  expect(said).toEqual([`The first administrator is ${ada.email}.\n`]);
  expect(existsSync(file())).toBe(false);
  expect((await signIn()).status).toBe(200);
  writeFileSync(passwordFile, "another long password");
  await start({ ...env, SPECGATE_ADMIN_EMAIL: "mallory@example.com" });
  expect(said.length).toBe(1);
  expect((await gateway.users.list()).map(({ email }) => email)).toEqual([ada.email]);
  expect((await signIn()).status).toBe(200);
});
