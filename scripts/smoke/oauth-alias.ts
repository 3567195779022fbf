/** Another spelling of this machine: it is answered, and never issued. */
import { tokenOf } from "../gateway.ts";
import { type Check, expect, expectEqual } from "./checks.ts";
import type { Place } from "./identity.ts";
import { Browser } from "./people-browser.ts";

export async function behindAlias(check: Check, { gateway, machine }: Place): Promise<void> {
  const alias = `http://localhost:${gateway.port}`;
  await check("discovery at localhost names the public URL alone", async () => {
    for (const name of ["oauth-authorization-server", "openid-configuration"]) {
      const response = await fetch(`${alias}/.well-known/${name}`);
      const metadata = (await response.json()) as Record<string, unknown>;
      expectEqual(metadata.issuer, gateway.url, "issuer");
      expect(!JSON.stringify(metadata).includes("localhost"), `it says ${JSON.stringify(metadata)}`);
    }
  });
  await check("a resource at localhost is the public URL's, and one elsewhere is refused", async () => {
    for (const resource of [`${alias}/v1`, `${alias}/v1/`, `${gateway.url}/v1/`]) {
      const token = await tokenOf({ url: alias }, machine, { resource });
      const payload = Buffer.from(token.split(".")[1] ?? "", "base64url").toString();
      const { iss, aud } = JSON.parse(payload) as { iss: string; aud: unknown };
      expectEqual([iss, [aud].flat()], [gateway.url, [`${gateway.url}/v1`]], `iss and aud for ${resource}`);
    }
    const elsewhere = tokenOf(gateway, machine, { resource: "https://gate.example.com/v1" });
    const refused = await elsewhere.catch((error: unknown) => String(error));
    expect(refused.includes("invalid_target"), `it answers ${refused}`);
  });
  await check("a browser at localhost is sent to the public URL", async () => {
    const response = await fetch(`${alias}/login?next=%2Fdevice`, { redirect: "manual" });
    const location = response.headers.get("location");
    expectEqual(
      [response.status, location],
      [307, `${gateway.url}/login?next=%2Fdevice`],
      "status and location",
    );
    expectEqual((await new Browser(gateway.url).open(location ?? "")).status, 200, "status there");
  });
}
