import type { Call } from "../../platform/call.ts";
import type { Principal } from "../../platform/principal.ts";

export type Oidc = {
  readonly host: string;
  begin(next: string): Promise<Response>;
  finish(request: Request, call: Call, previous: Principal | null): Promise<Response>;
};
