import { cookieName, setCookie } from "../../platform/cookies.ts";
import { browserLife } from "./sign-ins.ts";

/** The answer with the console's cookie; null takes it away. */
export function withCookie(response: Response, publicUrl: string, cookie: string | null): Response {
  const seconds = cookie === null ? 0 : browserLife.totalMs / 1_000;
  response.headers.append("set-cookie", setCookie(publicUrl, cookieName(publicUrl), cookie ?? "", seconds));
  response.headers.set("cache-control", "no-store");
  return response;
}
