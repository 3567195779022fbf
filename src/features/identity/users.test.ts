import { afterAll, beforeAll, expect, test } from "bun:test";
import { testDatabase } from "../../testing/cluster.ts";
import { type Desk, localActor, openDesk } from "../../testing/desk.ts";
import { createPasswords } from "./passwords.ts";

let desk: Desk;
beforeAll(async () => {
  desk = await openDesk((await testDatabase()).database);
});
afterAll(() => desk.close());

const hashOf = async (email: string): Promise<string | null> => {
  const rows = await desk.database.sql<{ password_hash: string | null }[]>`
    select password_hash from users where email = ${email}`;
  return rows[0]?.password_hash ?? null;
};

test("a person is created with a role and an argon2id password, and audited without it", async () => {
  const password = "correct horse battery";
  const ada = await desk.users.create(localActor, { email: "ada@example.com", role: "admin", password });
  expect(ada).toEqual({ id: expect.stringMatching(/^usr_/), email: "ada@example.com", role: "admin" });
  const hash = (await hashOf("ada@example.com")) ?? "";
  expect(hash).toStartWith("$argon2id$");
  expect(await Bun.password.verify(password, hash)).toBe(true);
  const entries = await desk.entries(ada.id);
  expect(entries.map(({ action, actorKind }) => [action, actorKind])).toEqual([["user.created", "local"]]);
  expect(JSON.stringify(entries)).not.toContain(password);
});

test("one e-mail address is one person, whatever its case", async () => {
  await desk.users.create(localActor, { email: "Ed@example.com", role: "user" });
  const again = desk.users.create(localActor, { email: "eD@Example.com", role: "user" });
  await expect(again).rejects.toMatchObject({ code: "email_taken" });
});

test.each([
  "",
  "ada",
  "ada@",
  "@example.com",
  "a b@example.com",
  "a@b\n.com",
  `${"a".repeat(250)}@example.com`,
])("%p is no e-mail address", async (email) => {
  await expect(desk.users.create(localActor, { email, role: "user" })).rejects.toMatchObject({
    code: "invalid_email",
  });
});

test("passwords under 12 and over 1024 bytes are refused", async () => {
  const create = (password: string) =>
    desk.users.create(localActor, { email: `p${password.length}@example.com`, role: "user", password });
  await expect(create("x".repeat(11))).rejects.toMatchObject({ code: "invalid_password" });
  await expect(create("é".repeat(513))).rejects.toMatchObject({ code: "invalid_password" });
  await create("x".repeat(12));
});

test("a password is changed, and disabling is remembered, revoked and audited once", async () => {
  const vera = await desk.users.create(localActor, { email: "vera@example.com", role: "user" });
  expect(await hashOf(vera.email)).toBeNull();
  await desk.users.setPassword(localActor, "VERA@example.com", "a new long password");
  expect(await hashOf(vera.email)).toStartWith("$argon2id$");
  await desk.users.disable(localActor, vera.email);
  await desk.users.disable(localActor, vera.email);
  const lines = await desk.users.list();
  expect(lines.find(({ id }) => id === vera.id)?.disabled_at).toBeString();
  const actions = (await desk.entries(vera.id)).map(({ action }) => action);
  expect(actions).toEqual(["user.created", "user.password_changed", "user.disabled"]);
  const rows = await desk.database.sql`select 1 from revocations where subject = ${vera.id}`;
  expect(rows.length).toBe(1);
});

test("nobody by that address is said so", async () => {
  await expect(desk.users.disable(localActor, "nobody@example.com")).rejects.toMatchObject({
    code: "not_found",
  });
});

test("hashing waits its turn, two at a time, and the line is short", async () => {
  const passwords = createPasswords();
  const hashes = Array.from({ length: 40 }, () => passwords.hash("x".repeat(12)));
  const results = await Promise.allSettled(hashes);
  const refused = results.filter(({ status }) => status === "rejected");
  expect(refused.length).toBe(6);
  expect(refused.map((result) => (result as PromiseRejectedResult).reason.code)).toEqual(
    Array(6).fill("unavailable"),
  );
  expect(await passwords.hash("x".repeat(12))).toStartWith("$argon2id$");
}, 30_000);
