import { test } from "bun:test";
import { startGateway } from "../../testing/gateway.ts";
import { legacyRpc, rpc } from "../../testing/mcp.ts";
test("speed", async () => {
  const gateway = await startGateway({ yaml: "limits: { mcp: { requests_per_minute: null } }" });
  for (const [what, ask] of [
    ["modern whoami", () => rpc(gateway.robo, "tools/call", { name: "whoami", arguments: {} })],
    
    
    
    
  ] as const) {
    for (let i = 0; i < 200; i++) await ask();
    let n = 0;
    const end = performance.now() + 3000;
    await Promise.all(Array.from({ length: 32 }, async () => { while (performance.now() < end) { await ask(); n++; } }));
    console.log(what, Math.round(n / 3), "per s");
  }
  await gateway.close();
}, 60000);
