/**
 * Clients that make themselves known: by registering (RFC 7591), or by a metadata document at their own https address.
 *
 * Both are public apps: they have no secret, hold nothing of their own, and ask a person each time. They never hold what
 * belongs to people alone. Anybody may register, so an address may do so a few times an hour only, and a client that
 * nobody signs in with is swept away after a day, and three months after the last one did.
 */
import type { z } from "zod";
import { type Origin, type RecordAudit, strangerFrom } from "../../db/audit-entry.ts";
import type { Database } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { asFailure, Failure } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { createQuota } from "../../platform/quota.ts";
import { narrow, parseScope, type Scope } from "../../platform/scopes.ts";
import { parseName } from "./clients.ts";
import { documentForm, type RegisteredClient, type registrationForm } from "./contract.ts";
import { oauthRefusal } from "./form.ts";
import { appScopes } from "./metadata.ts";
import { whyNotRedirect } from "./redirects.ts";
import { type ClientRow, findClient, insertClient, upsertDocumentClient } from "./store.ts";

/** Fetches a small JSON document from an address that a stranger chose; throws when the address may not be asked. */
export type FetchDocument = (url: string) => Promise<{ body: unknown; cacheSeconds: number }>;

export type RegistrationNeeds = {
  database: Database;
  record: RecordAudit;
  clock: Clock;
  /** Null: client ID metadata documents are off. */
  fetchDocument: FetchDocument | null;
};

type Asked = z.infer<typeof registrationForm>;

const perHour = 60;
const documentCacheMsMax = 86_400_000;
const documentsMax = 1_000;

export class Registration {
  readonly #needs: RegistrationNeeds;
  readonly #quota = createQuota({
    points: perHour,
    seconds: 3_600,
    advice: `An address may register ${perHour} clients an hour. Keep the client_id and use it again.`,
  });
  /** Until when a document need not be fetched again. */
  readonly #fresh = new Map<string, number>();

  constructor(needs: RegistrationNeeds) {
    this.#needs = needs;
  }

  /** Throws `invalid_redirect_uri`, `invalid_client_metadata`, or 429. */
  async register(asked: Asked, origin: Origin): Promise<RegisteredClient> {
    await this.#quota.spend(origin.ip);
    const client = { id: newId("cli"), ...metadataOf(asked) };
    await this.#needs.database.transaction(async (tx) => {
      await insertClient(tx, { ...client, kind: "desktop", origin: "registration" });
      const details = {
        name: client.name,
        scope: client.scopes.join(" "),
        redirect_uris: client.redirectUris,
      };
      const actor = strangerFrom(origin);
      await this.#needs.record(tx, { actor, action: "client.registered", subject: client.id, details });
    });
    return {
      client_id: client.id,
      client_id_issued_at: Math.floor(this.#needs.clock.now() / 1000),
      client_name: client.name,
      redirect_uris: client.redirectUris,
      grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
      scope: client.scopes.join(" "),
    };
  }

  /** Into the same list as all clients, where it can be seen and revoked. */
  async #keep(id: string, metadata: Metadata): Promise<void> {
    const { database, record } = this.#needs;
    await database.transaction(async (tx) => {
      if (!(await upsertDocumentClient(tx, { id, ...metadata }))) return;
      const { name, scopes, redirectUris } = metadata;
      const details = { name, scope: scopes.join(" "), redirect_uris: redirectUris };
      const actor = { ...strangerFrom({ ip: null, userAgent: null, requestId: null }), id };
      await record(tx, { actor, action: "client.registered", subject: id, details });
    });
  }

  /** A client by its id; one whose id is an https URL is known by the document there. */
  async findApp(id: string): Promise<ClientRow | undefined> {
    const { database, fetchDocument } = this.#needs;
    if (fetchDocument === null || !isDocumentId(id)) return findClient(database.db, id);
    const isFresh = (this.#fresh.get(id) ?? 0) > this.#needs.clock.now();
    const known = isFresh ? await findClient(database.db, id) : undefined;
    if (known !== undefined) return known;
    // Swept away perhaps, as one that nobody signed in with, however long its document may be kept.
    await this.#learn(id, fetchDocument);
    return findClient(database.db, id);
  }

  async #learn(id: string, fetchDocument: FetchDocument): Promise<void> {
    const { body, cacheSeconds } = await fetchDocument(id).catch((cause: unknown) => {
      throw unreadable(
        asFailure(cause).status < 500 ? asFailure(cause).message : "It cannot be fetched.",
        cause,
      );
    });
    const parsed = documentForm.safeParse(body);
    if (!parsed.success) throw unreadable("It is not a client metadata document.");
    if (parsed.data.client_id !== id) throw unreadable("Its client_id is not its own address.");
    const metadata = metadataOf(parsed.data);
    await this.#keep(id, metadata);
    if (this.#fresh.size >= documentsMax) this.#fresh.clear();
    const cacheMs = Math.min(cacheSeconds * 1_000, documentCacheMsMax);
    this.#fresh.set(id, this.#needs.clock.now() + cacheMs);
  }
}

/** https, with a path, and nothing that could be spelled in two ways. */
function isDocumentId(id: string): boolean {
  const url = id.length <= 512 ? URL.parse(id) : null;
  if (url === null || url.protocol !== "https:" || url.href !== id) return false;
  return url.pathname !== "/" && !/[?#]/.test(id) && url.username === "" && url.password === "";
}

type Metadata = { name: string; redirectUris: string[]; scopes: Scope[] };

/** What the client may replace is replaced (RFC 7591 section 2): it is public, whatever method it asked for. */
function metadataOf({ redirect_uris, client_name, scope, response_types }: Asked): Metadata {
  for (const uri of redirect_uris) {
    const why = whyNotRedirect(uri);
    if (why !== null) throw oauthRefusal("invalid_redirect_uri", `A redirect URI does not fit: ${why}.`);
  }
  if (response_types !== undefined && !response_types.includes("code")) {
    throw oauthRefusal("invalid_client_metadata", "response_types must hold code.");
  }
  return {
    name: nameOf(client_name),
    redirectUris: [...new Set(redirect_uris)],
    scopes: scopesOf(scope),
  };
}

function nameOf(text: string | undefined): string {
  if (text === undefined || text.trim() === "") return "An app without a name";
  try {
    return parseName(text);
  } catch (error) {
    throw oauthRefusal("invalid_client_metadata", asFailure(error).message);
  }
}

/** Scopes of other servers are left out, and no scope asked for is every one an app may hold. */
function scopesOf(text: string | undefined): Scope[] {
  if (text === undefined || text.trim() === "") return [...appScopes];
  const parsed = parseScope(text);
  const asked = parsed.ok ? parsed.scopes : text.split(" ");
  const scopes = narrow(asked, appScopes);
  if (scopes.length > 0) return scopes;
  throw oauthRefusal("invalid_client_metadata", `scope must hold some of ${appScopes.join(" ")}.`);
}

const unreadable = (why: string, cause?: unknown): Failure =>
  new Failure("invalid", "invalid_client", `The document that this app is known by does not fit. ${why}`, {
    cause,
  });
