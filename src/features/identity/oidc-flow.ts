/**
 * A sign-in on its way to the identity provider and back.
 *
 * What the gateway has to know when the browser returns travels in a cookie of its own, for ten minutes, sealed with
 * AES-256-GCM: nobody can read it, alter it, or make one. So a link from another site can finish no sign-in that this
 * browser has not begun, and nothing is kept here for those who never come back.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import type { Clock } from "../../platform/clock.ts";
import { readCookie } from "../../platform/cookies.ts";

export type Flow = {
  /** RFC 6749 section 10.12: comes back in the provider's answer. */
  readonly state: string;
  /** Comes back in the signed ID token. */
  readonly nonce: string;
  /** RFC 7636: whoever has the code alone cannot redeem it. */
  readonly verifier: string;
  /** Where the browser goes afterwards: a path of this gateway. */
  readonly next: string;
};

export type Flows = {
  /** The Set-Cookie that gives the flow to the browser. */
  seal(flow: Flow): string;
  /** The flow that the browser holds; null when there is none, or it is older than ten minutes. */
  open(headers: Headers): Flow | null;
  /** The Set-Cookie that takes it away. */
  cleared(): string;
};

export type FlowsNeeds = {
  /** 32 bytes; the same on every instance behind one public URL. */
  key: Uint8Array;
  publicUrl: () => string;
  clock: Pick<Clock, "now">;
};

const lifeMs = 10 * 60_000;
/** A cookie of more than 4 KiB is dropped by browsers without a word, and the sign-in would never end. */
const nextCharsMax = 2_500;

export function createFlows({ key, publicUrl, clock }: FlowsNeeds): Flows {
  const cookie = (value: string, seconds: number) => {
    const secure = isHttps(publicUrl()) ? "; Secure" : "";
    return `${nameOf(publicUrl())}=${value}; Path=/login; Max-Age=${seconds}; HttpOnly; SameSite=Lax${secure}`;
  };
  return {
    seal({ state, nonce, verifier, next }) {
      const kept = next.length > nextCharsMax ? "/" : next;
      // None of them holds a space.
      const text = [clock.now() + lifeMs, state, nonce, verifier, kept].join(" ");
      return cookie(seal(key, text), lifeMs / 1_000);
    },
    open(headers) {
      const sent = readCookie(headers, nameOf(publicUrl()));
      const text = sent === null ? null : unseal(key, sent);
      if (text === null) return null;
      const [expiresAt, state = "", nonce = "", verifier = "", next = "/"] = text.split(" ");
      return clock.now() < Number(expiresAt) ? { state, nonce, verifier, next } : null;
    },
    cleared: () => cookie("", 0),
  };
}

const isHttps = (publicUrl: string): boolean => publicUrl.startsWith("https:");

/** `__Host-` asks for `Path=/` (RFC 6265bis section 4.1.3.2), and this cookie is for nobody but `/login`. */
const nameOf = (publicUrl: string): string =>
  isHttps(publicUrl) ? "__Secure-specgate-oidc" : "specgate-oidc";

const cipher = "aes-256-gcm";
const nonceBytes = 12;
const tagBytes = 16;
/** What is sealed for this place opens nowhere else, whatever else the key is used for. */
const place = Buffer.from("specgate oidc flow 1");

function seal(key: Uint8Array, text: string): string {
  const nonce = crypto.getRandomValues(new Uint8Array(nonceBytes));
  const sealing = createCipheriv(cipher, key, nonce, { authTagLength: tagBytes }).setAAD(place);
  const sealed = [sealing.update(text, "utf8"), sealing.final()];
  return Buffer.concat([nonce, ...sealed, sealing.getAuthTag()]).toString("base64url");
}

function unseal(key: Uint8Array, sent: string): string | null {
  const bytes = Buffer.from(sent, "base64url");
  if (bytes.length <= nonceBytes + tagBytes) return null;
  const opening = createDecipheriv(cipher, key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes });
  opening.setAAD(place).setAuthTag(bytes.subarray(-tagBytes));
  try {
    const text = opening.update(bytes.subarray(nonceBytes, -tagBytes));
    return Buffer.concat([text, opening.final()]).toString("utf8");
  } catch {
    return null;
  }
}
