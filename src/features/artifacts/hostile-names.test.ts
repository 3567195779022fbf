/**
 * Three hundred names that would like to be paths, headers, commands or somebody else's file. Each is refused with the code
 * of names, or kept: then its bytes are where its key says, and the one who downloads them reads the name as it was given.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { lstatSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { eq } from "drizzle-orm";
import { artifacts } from "../../db/schema.ts";
import { startGateway, type TestGateway } from "../../testing/gateway.ts";
import { putSession } from "../../testing/objects.ts";
import { announcing, put, sha256Of } from "../../testing/stores.ts";
import { call, ok } from "../../testing/wire.ts";
import type { DownloadView, NewArtifactView } from "./contract.ts";

/** Refused, wherever in a name they stand. */
const refusedPieces = [
  "../",
  "..\\",
  "..",
  "/",
  "\\",
  "/etc/passwd",
  "C:\\Windows\\",
  "\\\\server\\share\\",
  "\u0000",
  "\u0001",
  "\t",
  "\n",
  "\r\nSet-Cookie: a=b",
  "\r\n\r\n<script>",
  "\u001b[31m",
  "\u007f",
  "\u0085",
  "\u009b",
  "\u00ad",
  "\u200b",
  "\u200e",
  "\u2028",
  "\u2029",
  "\u202e",
  "\u2066",
  "\ufeff",
  "\ud800",
  "\udc00",
  "\u{e0041}",
];

/** A name like another, however it reads to a shell, a file system, a URL or a header. */
const keptPieces = [
  "%2e%2e%2f",
  "%2e%2e",
  "%252e%252e%255c",
  "%00",
  "%0d%0a",
  "%c0%ae%c0%ae",
  "․․∕",
  "․",
  "．．",
  "／",
  "＼",
  "∕",
  "⁄",
  "⧵",
  "…",
  "‥",
  "~",
  "~root",
  "$(id)",
  "`id`",
  "$HOME",
  "$IFS",
  ";rm -rf *",
  "|cat",
  "&&",
  "> x",
  "*",
  "?",
  "-rf",
  "--help",
  ".htaccess",
  ".partial",
  ".git",
  "CON",
  "aux",
  "NUL.txt",
  "COM1",
  "x:$DATA",
  "a:b",
  '"',
  '"; filename="evil.exe',
  "'",
  "UTF-8''",
  ";",
  ",",
  "=",
  "<img src=x onerror=alert(1)>",
  "javascript:alert(1)",
  "file:",
  "#",
  "?exp=1&sig=2",
  "+",
  " ",
  "\u00a0",
  "รายงาน",
  "ประชุม ครั้งที่ ๑",
  "日本語",
  "é",
  "e\u0301",
  "👩‍💻",
  "🇹🇭",
  "ﬁ",
  "İ",
  "ß",
  "ꓸꓸ",
  "\u0e33",
];

const dressed = (piece: string): string[] => [piece, `${piece}x.txt`, `x${piece}`];
const refusedNames = [
  ...new Set([
    ...refusedPieces.flatMap(dressed),
    "",
    " ",
    ".",
    "ก".repeat(86),
    "x".repeat(256),
    "👍".repeat(64),
  ]),
];
const keptNames = [
  ...new Set([
    ...keptPieces.filter((piece) => piece.trim() !== "").flatMap(dressed),
    ...[
      "x.",
      "x ",
      "x . ",
      " x",
      ". x",
      "x".repeat(255),
      "ก".repeat(85),
      "👍".repeat(63),
      `${"y".repeat(200)}.html`,
    ],
    ...["index.html", "a.svg", "web.config", "desktop.ini", "-", "_", "0", "null", "undefined", "__proto__"],
  ]),
];

describe("hostile names", () => {
  let gateway: TestGateway;
  let session: string;
  let before: Set<string>;

  beforeAll(async () => {
    gateway = await startGateway({ yaml: "limits: { control: { requests_per_minute: null } }\n" });
    session = await putSession(gateway.database, gateway.robo.projectId);
    before = filesBelow(dirname(gateway.dir.path));
  }, 60_000);
  afterAll(() => gateway?.close());

  const announce = (name: string) =>
    call<NewArtifactView & { code?: string }>(
      gateway.robo,
      "POST",
      `/sessions/${session}/artifacts`,
      announcing(bytesOf(name), { name }),
    );
  const keyOf = async (id: string) => {
    const rows = await gateway.database.db.select().from(artifacts).where(eq(artifacts.id, id));
    return rows[0]?.key ?? "";
  };

  test("there are three hundred of them", () => {
    expect(refusedNames.length + keptNames.length).toBeGreaterThanOrEqual(300);
  });

  test("what is no name is refused with its code, and leaves nothing", async () => {
    for (const name of refusedNames) {
      const { http, body } = await announce(name);
      expect([name, http, body.code]).toEqual([name, 422, "artifact_name_refused"]);
    }
    expect(await gateway.database.db.select().from(artifacts)).toEqual([]);
    expect(written()).toEqual([]);
  }, 60_000);

  test("every other name is kept below the blobs, where its key says, and comes back as it was", async () => {
    const keys: string[] = [];
    for (const name of keptNames) {
      const { http, body } = await announce(name);
      expect([name, http]).toEqual([name, 201]);
      const { id } = body.artifact;
      if (body.upload === null) throw new Error(`${name}: no upload was signed`);
      expect((await put(body.upload, bytesOf(name))).status).toBe(200);
      expect((await call(gateway.robo, "POST", `/artifacts/${id}/completion`)).http).toBe(200);
      const key = await keyOf(id);
      const home = `projects/${gateway.robo.projectId}/sessions/${session}/iterations/0/${id}`;
      expect(dirname(key)).toBe(home);
      expect(key.slice(home.length + 1)).toMatch(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/);
      keys.push(`${relative(dirname(gateway.dir.path), gateway.dir.path)}/blobs/${key}`);
      await requireSavedAs(id, name);
    }
    expect(written().sort()).toEqual(keys.sort());
  }, 120_000);

  async function requireSavedAs(id: string, name: string): Promise<void> {
    const { url } = await ok<DownloadView>(gateway.robo, "GET", `/artifacts/${id}/download`);
    const response = await fetch(url);
    expect(sha256Of(await response.bytes())).toBe(sha256Of(bytesOf(name)));
    const disposition = response.headers.get("content-disposition") ?? "";
    // RFC 6266: one plain name that needs no unquoting, and one as it is.
    const [, plain = "", encoded = ""] =
      /^attachment; filename="([^"\\%]*)"; filename\*=UTF-8''([\w.!#$&+^`|~%-]*)$/.exec(disposition) ?? [];
    expect(plain).toMatch(/^[ -~]+$/);
    expect([disposition, decodeURIComponent(encoded)]).toEqual([disposition, name]);
    expect([...response.headers.keys()]).not.toContain("set-cookie");
  }

  /** Beside what was there, wherever the data dir is. */
  function written(): string[] {
    const files = filesBelow(dirname(gateway.dir.path));
    return [...files].filter((path) => !before.has(path) && !isOwn(path));
  }

  /** What the ledger, the audit and the embedded servers write meanwhile. */
  function isOwn(path: string): boolean {
    return /^[^/]+\/(?:journal|audit|postgres)\//.test(path);
  }
});

const bytesOf = (name: string): Uint8Array =>
  new TextEncoder().encode(`the bytes of ${JSON.stringify(name)}`);

/** Relative to the root; links are not followed. */
function filesBelow(root: string): Set<string> {
  const found = readdirSync(root, { recursive: true, encoding: "utf8" });
  return new Set(
    found.filter((path) => !lstatSync(join(root, path), { throwIfNoEntry: false })?.isDirectory()),
  );
}
