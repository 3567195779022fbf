import { expect, test } from "bun:test";
import fc from "fast-check";
import { openMessage } from "./connect-envelope.ts";

test("only what JSON-RPC knows is taken for a message, and none of it holds a newline", () => {
  const value = fc.oneof(fc.jsonValue(), fc.constantFrom("2.0", 1, null, {}, { code: 1, message: "m" }));
  const keys = ["jsonrpc", "id", "method", "result", "error", "params"];
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...keys), value), fc.boolean(), (given, isRpc) => {
      const object: Record<string, unknown> = isRpc ? { ...given, jsonrpc: "2.0" } : { ...given };
      const message = openMessage(JSON.stringify(object, null, 2));
      const { jsonrpc, method, id } = object;
      if (message === null) return;
      expect(message.text).not.toMatch(/[\r\n]/);
      expect(JSON.parse(message.text)).toEqual(JSON.parse(JSON.stringify(object)));
      expect(jsonrpc).toBe("2.0");
      if (message.kind !== "answer") {
        expect(typeof method).toBe("string");
        return;
      }
      expect(method).toBeUndefined();
      expect("result" in object).not.toBe("error" in object);
      expect(["string", "number", ...("error" in object ? ["undefined", "object"] : [])]).toContain(
        typeof id,
      );
    }),
    { numRuns: 2_000 },
  );
});
