/** Signing in through a browser on any other machine: the device flow of RFC 8628. */
import { z } from "zod";
import { Failure } from "../platform/failure.ts";
import { printable } from "./print.ts";
import {
  type Answer,
  type AuthorizationServer,
  clientId,
  type Granted,
  grantedOf,
  isAt,
  isUnreachable,
  post,
  type Refused,
  refusal,
  strange,
} from "./sign-in-oauth.ts";
import type { World } from "./world.ts";

const deviceForm = z.object({
  device_code: z.string().min(1),
  user_code: z.string().min(1).max(64),
  verification_uri: z.string(),
  verification_uri_complete: z.string().optional(),
  /** Both in seconds. */
  expires_in: z.number().positive(),
  interval: z.number().min(1).default(5),
});
export type Device = z.infer<typeof deviceForm>;

export async function signInByDevice(
  world: World,
  server: AuthorizationServer,
  scope: string | undefined,
): Promise<Granted> {
  const device = await beginDevice(server, scope);
  show(world, device);
  return awaitDevice(world, server, device);
}

/** Resolves when somebody has entered the code and said yes. Once `signal` is aborted nobody asks any more. */
export async function awaitDevice(
  world: Pick<World, "sleep">,
  server: AuthorizationServer,
  device: Device,
  signal?: AbortSignal,
): Promise<Granted> {
  let intervalSeconds = device.interval;
  for (let waited = 0; waited < device.expires_in; ) {
    await world.sleep(intervalSeconds * 1_000);
    signal?.throwIfAborted();
    waited += intervalSeconds;
    const answer = await poll(server, device);
    if (!("refused" in answer)) return grantedOf(answer);
    if (answer.refused === "slow_down") intervalSeconds += 5;
    else if (answer.refused !== "authorization_pending") throw ended(answer);
  }
  throw expired();
}

export async function beginDevice(server: AuthorizationServer, scope: string | undefined): Promise<Device> {
  const { issuer, device_authorization_endpoint: endpoint } = server;
  if (endpoint === undefined) throw strange(`${issuer} offers no sign-in by code`);
  const answer = await post(endpoint, { client_id: clientId, ...(scope === undefined ? {} : { scope }) });
  if ("refused" in answer) throw refusal("The gateway refused the sign-in", answer);
  const parsed = deviceForm.safeParse(answer.granted);
  if (!parsed.success) throw strange("The gateway's answer holds no usable code");
  const { verification_uri: plain, verification_uri_complete: complete } = parsed.data;
  // A person types a password where these lead.
  if (![plain, complete ?? plain].every((uri) => isAt(issuer, uri)))
    throw strange(`${issuer} sends people elsewhere to sign in; the code was not shown`);
  return parsed.data;
}

function show(world: World, device: Device): void {
  const { user_code: code, verification_uri: plain, verification_uri_complete: complete } = device;
  const address = (uri: string) => `\n  ${printable(uri)}\n`;
  world.stderr(`To sign in, open this address in any browser:\n${address(plain)}`);
  world.stderr(`\nand enter the code ${printable(code)}\n`);
  if (complete !== undefined) world.stderr(`\nor open this, which holds the code:\n${address(complete)}`);
  world.stderr(`\nThe code is good for ${Math.ceil(device.expires_in / 60)} min. Ctrl+C ends the wait.\n`);
}

/** A lost poll costs nothing but time, yet a gateway in trouble is asked less often. */
async function poll(server: AuthorizationServer, device: Device): Promise<Answer> {
  const grant = "urn:ietf:params:oauth:grant-type:device_code";
  try {
    return await post(server.token_endpoint, {
      grant_type: grant,
      device_code: device.device_code,
      client_id: clientId,
    });
  } catch (error) {
    if (isUnreachable(error)) return { refused: "slow_down", description: "" };
    throw error;
  }
}

function ended(answer: Refused): Failure {
  if (answer.refused === "expired_token") return expired();
  if (answer.refused !== "access_denied") return refusal("The gateway refused the sign-in", answer);
  return new Failure("forbidden", "access_denied", "The sign-in was denied in the browser; nothing was kept");
}

const expired = (): Failure =>
  new Failure(
    "upstream_timeout",
    "sign_in_timeout",
    "The code expired before somebody entered it; run specgate login --device again",
  );
