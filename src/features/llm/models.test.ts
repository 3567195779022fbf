import { afterAll, beforeAll, expect, test } from "bun:test";
import { startGateway, type TestGateway } from "../../testing/gateway.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway({
    yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-1" }
  claude: { kind: anthropic, base_url: "PROVIDER", api_key: "sk-2" }
  vectors: { kind: openai, base_url: "PROVIDER", api_key: "sk-3", endpoints: [embeddings] }
models:
  fast: { targets: [ { provider: openai, model: m } ], fallbacks: [ { provider: claude, model: c } ] }
  embed: { targets: [ { provider: vectors, model: v } ] }
  a-1: { targets: [ { provider: claude, model: c } ] }
  a-2: { targets: [ { provider: claude, model: c } ] }
prices:
  "openai/m": { input: 1, cached_read: 0.1, output: 2 }
`,
  });
});
afterAll(() => gateway.close());

type Model = { id: string; endpoints: string[]; prices: Record<string, string> | null };
const anthropic = { "anthropic-version": "2023-06-01" };

test("a model shows the endpoints that any of its candidates speaks, and its prices", async () => {
  const list = (await (await gateway.robo.fetch("/v1/models")).json()) as { data: Model[] };
  const model = (id: string) => list.data.find((one) => one.id === id);
  expect(model("fast")).toMatchObject({
    object: "model",
    owned_by: "openai",
    endpoints: [
      "chat/completions",
      "completions",
      "responses",
      "embeddings",
      "messages",
      "messages/count_tokens",
    ],
    prices: { input: "1.00", cached_read: "0.10", cache_write: "1.00", output: "2.00" },
  });
  expect(model("embed")).toMatchObject({ endpoints: ["embeddings"], prices: null });
  expect(model("a-1")).toMatchObject({
    endpoints: ["chat/completions", "messages", "messages/count_tokens"],
  });
  const one = await (await gateway.robo.fetch("/v1/models/openai/m")).json();
  expect(one).toMatchObject({
    id: "openai/m",
    endpoints: ["chat/completions", "completions", "responses", "embeddings"],
  });
});

type Page = {
  data: { id: string; type: string }[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
};

const page = async (query: string): Promise<Page> => {
  const answer = await gateway.robo.fetch(`/v1/models${query}`, { headers: anthropic });
  expect([query, answer.status]).toEqual([query, 200]);
  return (await answer.json()) as Page;
};

test("Anthropic's clients page through the same list, on and back", async () => {
  const all = await page("?limit=1000");
  expect(all.has_more).toBe(false);
  const ids = all.data.map((model) => model.id);
  expect(ids.slice(0, 4)).toEqual(["fast", "embed", "a-1", "a-2"]);
  const first = await page("?limit=2");
  expect([first.data.map((model) => model.id), first.has_more, first.first_id, first.last_id]).toEqual([
    ["fast", "embed"],
    true,
    "fast",
    "embed",
  ]);
  const next = await page(`?limit=2&after_id=${first.last_id}`);
  expect(next.data.map((model) => model.id)).toEqual(["a-1", "a-2"]);
  const back = await page("?limit=1&before_id=a-1");
  expect([back.data.map((model) => model.id), back.has_more]).toEqual([["embed"], true]);
  expect((await page("?limit=5&before_id=embed")).has_more).toBe(false);
  const last = await page(`?after_id=${encodeURIComponent(ids.at(-1) ?? "")}`);
  expect(last).toMatchObject({ data: [], has_more: false, first_id: null, last_id: null });
});

test("a page that cannot be is refused with what would be right", async () => {
  for (const [query, status] of [
    ["?limit=0", 400],
    ["?limit=1001", 400],
    ["?limit=ten", 400],
    ["?after_id=fast&before_id=embed", 400],
    ["?after_id=nothing-like-it", 404],
  ] as const) {
    const answer = await gateway.robo.fetch(`/v1/models${query}`, { headers: anthropic });
    expect([query, answer.status]).toEqual([query, status]);
    expect(await answer.json()).toMatchObject({ type: "error" });
  }
});
