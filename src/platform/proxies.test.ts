import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { callOf } from "./call.ts";
import { createEdge } from "./edge.ts";
import { silentLog } from "./log.ts";
import { plainAddress, trustProxies } from "./proxies.ts";

const trusted = ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8", "::1/128"];
const callerBehind = trustProxies(trusted);

describe("whose request it is", () => {
  const rows: [peer: string, forwardedFor: string | null, caller: string][] = [
    // Nobody vouches for what an untrusted peer says.
    ["198.51.100.1", null, "198.51.100.1"],
    ["198.51.100.1", "203.0.113.9", "198.51.100.1"],
    ["198.51.100.1", "203.0.113.9, 10.0.0.1", "198.51.100.1"],
    ["192.0.2.2", "203.0.113.9", "192.0.2.2"],
    ["fe80::1", "203.0.113.9", "fe80::1"],
    // A trusted peer vouches for one entry, which vouches for the next.
    ["10.0.0.1", null, "10.0.0.1"],
    ["10.0.0.1", "", "10.0.0.1"],
    ["10.0.0.1", "203.0.113.9", "203.0.113.9"],
    ["10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"],
    ["10.0.0.1", "1.1.1.1, 203.0.113.9, 10.9.9.9, 192.0.2.1", "203.0.113.9"],
    ["10.0.0.1", "1.1.1.1,203.0.113.9,10.9.9.9", "203.0.113.9"],
    ["10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
    ["192.0.2.1", "203.0.113.9", "203.0.113.9"],
    ["::1", "2001:db8::9", "2001:db8::9"],
    ["fd12::1", "2001:DB8:0:0::9, fd00::2", "2001:db8::9"],
    // Ports and brackets.
    ["10.0.0.1", "203.0.113.9:567", "203.0.113.9"],
    ["10.0.0.1", "[2001:db8::9]:567", "2001:db8::9"],
    ["10.0.0.1", "[2001:db8::9]", "2001:db8::9"],
    ["10.0.0.1", "203.0.113.9, [::1]:9, 10.0.0.2:80", "203.0.113.9"],
    // What is no address ends the walk, and the last good one stands.
    ["10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"],
    ["10.0.0.1", "203.0.113.9, , 10.0.0.2", "10.0.0.2"],
    ["10.0.0.1", "203.0.113.9, _hidden, 10.0.0.2", "10.0.0.2"],
    ["10.0.0.1", "203.0.113.9,", "10.0.0.1"],
    ["10.0.0.1", "203.0.113.9:", "10.0.0.1"],
    ["10.0.0.1", "203.0.113.9:123456", "10.0.0.1"],
    ["10.0.0.1", "[203.0.113.9]", "10.0.0.1"],
    ["10.0.0.1", "[2001:db8::9", "10.0.0.1"],
    ["10.0.0.1", "2001:db8::9]:5", "10.0.0.1"],
    ["10.0.0.1", "203.0.113.09", "10.0.0.1"],
    ["10.0.0.1", "203.0.113", "10.0.0.1"],
    ["10.0.0.1", "3405803785", "10.0.0.1"],
    ["10.0.0.1", '"203.0.113.9"', "10.0.0.1"],
    ["10.0.0.1", "for=203.0.113.9", "10.0.0.1"],
    ["10.0.0.1", "localhost", "10.0.0.1"],
    // IPv4 mapped into IPv6 is IPv4, at either end.
    ["::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"],
    ["::ffff:a00:1", "::ffff:203.0.113.9", "203.0.113.9"],
    ["::ffff:198.51.100.1", "203.0.113.9", "198.51.100.1"],
    ["10.0.0.1", "[::ffff:203.0.113.9]:5", "203.0.113.9"],
  ];
  test.each(rows)("a peer %p that forwards for %p: %p", (peer, forwardedFor, caller) => {
    expect(callerBehind(peer, forwardedFor)).toBe(caller);
  });

  test("with nobody trusted it is the peer's", () => {
    const alone = trustProxies([]);
    expect(alone("10.0.0.1", "203.0.113.9")).toBe("10.0.0.1");
    expect(alone("::ffff:10.0.0.1", "203.0.113.9")).toBe("10.0.0.1");
  });

  test("a network is of its own family, and one of mapped addresses is of IPv4", () => {
    const caller = (network: string, peer: string) => trustProxies([network])(peer, "203.0.113.9");
    expect(caller("::/0", "10.0.0.1")).toBe("10.0.0.1");
    expect(caller("0.0.0.0/0", "2001:db8::1")).toBe("2001:db8::1");
    expect(trustProxies(["0.0.0.0/0"])("10.0.0.1", "198.51.100.1")).toBe("198.51.100.1");
    expect(caller("::ffff:10.0.0.0/104", "10.0.0.1")).toBe("203.0.113.9");
    expect(caller("::ffff:10.0.0.0/104", "11.0.0.1")).toBe("11.0.0.1");
    expect(caller("::ffff:0:0/64", "::1")).toBe("203.0.113.9");
    expect(caller("::ffff:0:0/64", "10.0.0.1")).toBe("10.0.0.1");
    expect(caller("fe80::1%eth0/64", "fe80::2%eth1")).toBe("203.0.113.9");
  });
});

test("an address has one spelling", () => {
  const rows = [
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["fe80::1%eth0", "fe80::1"],
    ["0:0:0:0:0:FFFF:1.2.3.4", "1.2.3.4"],
    ["::ffff:0.0.0.0", "0.0.0.0"],
    ["::ffff:ffff:ffff", "255.255.255.255"],
    ["::1", "::1"],
    ["::0:0:0:0:0.0.0.0", "::"],
    ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
    ["1.2.3.4", "1.2.3.4"],
  ];
  for (const [address = "", plain = ""] of rows)
    expect([address, plainAddress(address)]).toEqual([address, plain]);
});

describe("seen through the edge", () => {
  const seen = async (peer: string | null, headers: [string, string][]) => {
    let found: { peer: string | null; ip: string | null } | undefined;
    const edge = createEdge(
      {
        allowedHosts: () => [],
        publicUrl: () => "http://127.0.0.1:8080",
        corsOrigins: [],
        trustedProxies: trusted,
        bodyBytesMax: () => 0,
        log: silentLog,
      },
      (request) => {
        const { peer, ip } = callOf(request);
        found = { peer, ip };
        return new Response();
      },
    );
    const sent = new Headers({ host: "localhost" });
    for (const [name, value] of headers) sent.append(name, value);
    const requestIP = () => (peer === null ? null : { address: peer });
    await edge(new Request("http://localhost/v1/models", { headers: sent }), { requestIP, timeout() {} });
    return found;
  };

  test("the call has the socket's peer and the caller behind it", async () => {
    const forwarded: [string, string][] = [["x-forwarded-for", "203.0.113.9"]];
    expect(await seen("10.0.0.1", forwarded)).toEqual({ peer: "10.0.0.1", ip: "203.0.113.9" });
    expect(await seen("::ffff:10.0.0.1", forwarded)).toEqual({ peer: "10.0.0.1", ip: "203.0.113.9" });
    expect(await seen("198.51.100.1", forwarded)).toEqual({ peer: "198.51.100.1", ip: "198.51.100.1" });
    expect(await seen(null, forwarded)).toEqual({ peer: null, ip: null });
  });

  test("several headers are one list, in their order", async () => {
    const headers: [string, string][] = ["203.0.113.9", "198.51.100.1", "10.0.0.2"].map((value) => [
      "x-forwarded-for",
      value,
    ]);
    expect(await seen("10.0.0.1", headers)).toEqual({ peer: "10.0.0.1", ip: "198.51.100.1" });
  });

  const isTrusted = (address: string) => callerBehind(address, "203.0.113.77") === "203.0.113.77";
  const anyAddress = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.ipV4().map((address) => `::ffff:${address}`),
  );
  const headerName = fc.constantFrom("x-forwarded-for", "forwarded", "x-real-ip", "x-client-ip", "via");
  const entry = fc.oneof(anyAddress, fc.constantFrom("10.0.0.1", "::1", "unknown", ""), fc.string());
  const headerValue = fc
    .array(entry, { maxLength: 6 })
    .map((entries) => entries.join(", ").replace(/[^\x20-\x7e]/g, ""));

  test("an untrusted peer never changes who it is", async () => {
    const headers = fc.array(fc.tuple(headerName, headerValue), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(anyAddress, headers, async (peer, sent) => {
        fc.pre(!isTrusted(peer));
        expect(await seen(peer, sent)).toEqual({ peer: plainAddress(peer), ip: plainAddress(peer) });
      }),
      { numRuns: 500 },
    );
  });

  test("what stands left of the first stranger changes nothing", () => {
    fc.assert(
      fc.property(headerValue, anyAddress, (left, stranger) => {
        fc.pre(!isTrusted(stranger));
        expect(callerBehind("10.0.0.1", `${left}, ${stranger}, 10.0.0.2`)).toBe(plainAddress(stranger));
      }),
      { numRuns: 500 },
    );
  });
});
