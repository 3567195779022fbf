/**
 * Clients: machine identities that get tokens with a secret of their own.
 *
 * A client never holds a scope that its kind or its lack of a project rules out, so what is registered is what works.
 * Its secret is shown once and stored as a hash. Desktop clients are public: they have no secret and no project, and
 * carry a person's rights. Every change writes its audit entry in its own transaction.
 */
import type { Actor, RecordAudit } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import { sha256 } from "../../platform/digest.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import { type ClientKind, ceiling, type Owner } from "../../platform/scopes.ts";
import { requireVersion } from "../../platform/versions.ts";
import { type ClientLine, type CreatedClient, clientNameForm } from "./contract.ts";
import type { Reach } from "./keepers.ts";
import { mintClientSecret } from "./minting.ts";
import { whyNotRedirect } from "./redirects.ts";
import type { Revocations } from "./revocations.ts";
import { registeredScopes } from "./rights.ts";
import {
  type ClientRow,
  findClient,
  findProject,
  insertClient,
  listClients,
  lockClient,
  revokeClient,
  updateClient,
  updateClientSecret,
} from "./store.ts";

export type ClientsNeeds = { database: Database; record: RecordAudit; revocations: Revocations };

export type NewClient = {
  name: string;
  kind: ClientKind;
  projectId?: string | null;
  redirectUris?: readonly string[];
  /** Space-separated. */
  scope: string;
};

/** Public, for the desktop app and the command line: it is always there. */
export const desktopClientId = "specgate-desktop";

const listName = "clients";

export class Clients {
  readonly #needs: ClientsNeeds;

  constructor(needs: ClientsNeeds) {
    this.#needs = needs;
  }

  /** Throws `invalid_name`, `invalid_scope`, `invalid_redirect_uri`, `invalid_request`, `not_found` or `closed`. */
  async create(
    actor: Actor,
    client: NewClient,
    within: Pick<Database, "transaction"> = this.#needs.database,
  ): Promise<CreatedClient> {
    const projectId = client.projectId ?? null;
    const owner = ownerOf(client.kind, projectId);
    const row = {
      id: newId("cli"),
      name: parseName(client.name),
      kind: client.kind,
      projectId,
      scopes: registeredScopes(client.scope, owner, ceiling(owner)),
      redirectUris: parseRedirectUris(client.kind, client.redirectUris ?? []),
    };
    const secret = client.kind === "desktop" ? null : mintClientSecret();
    const scope = row.scopes.join(" ");
    await within.transaction(async (tx) => {
      if (projectId !== null) await requireOpenProject(tx, projectId);
      await insertClient(tx, { ...row, secretHash: secret === null ? null : sha256(secret) });
      const details = { name: row.name, kind: row.kind, scope, redirect_uris: row.redirectUris };
      await this.#needs.record(tx, { actor, action: "client.created", subject: row.id, projectId, details });
    });
    return { ...shown(row.id, secret), kind: row.kind, scope, project_id: projectId };
  }

  /** All of them, for the operator's own command. */
  async list(): Promise<ClientLine[]> {
    return (await listClients(this.#needs.database.db)).map(lineOf);
  }

  async page(
    reach: Reach,
    cursors: Cursors,
    query: { limit: number; cursor?: string | undefined },
  ): Promise<Page<ClientLine>> {
    const [after = null] = query.cursor === undefined ? [] : cursors.open(listName, query.cursor);
    const projectIds = reach.all ? null : reach.projectIds;
    const slice = { after, rowsMax: query.limit + 1, projectIds };
    const rows = await listClients(this.#needs.database.db, slice);
    const page = pageOf(rows, query.limit, (last) => cursors.seal(listName, [last.id]));
    return { ...page, data: page.data.map(lineOf) };
  }

  find(clientId: string): Promise<ClientRow | undefined> {
    return findClient(this.#needs.database.db, clientId);
  }

  /** Throws as `create` does, and `stale_version` or `closed`. What it may do changes at once. */
  async change(
    actor: Actor,
    clientId: string,
    asked: ClientChange,
    seen: number | null,
  ): Promise<ClientLine> {
    const { database, record, revocations } = this.#needs;
    const row = await database.transaction(async (tx) => {
      const client = await lockClient(tx, clientId);
      if (client === undefined) throw notFound(`There is no client ${clientId}.`);
      requireVersion(client, seen);
      if (client.id === desktopClientId) throw builtIn();
      if (client.revokedAt !== null) throw closed(client);
      const change = changeOf(client, asked);
      const details = { ...change };
      if (Object.keys(change).length === 0) return client;
      const { projectId } = client;
      await record(tx, { actor, action: "client.updated", subject: client.id, projectId, details });
      // Other rights for the same credentials: they are looked up again, and nothing under way is cut.
      await revocations.record(tx, `${client.id} scope`);
      return updateClient(tx, client.id, change);
    });
    await revocations.announce();
    return lineOf(row ?? (await this.#get(clientId)));
  }

  /** A new secret; the old one stops at once. Tokens issued with it live on to their own end. */
  async rotate(
    actor: Actor,
    clientId: string,
    within: Pick<Database, "transaction"> = this.#needs.database,
  ): Promise<CreatedClient> {
    const client = await this.#get(clientId);
    const secret = mintClientSecret();
    await within.transaction(async (tx) => {
      if (!(await updateClientSecret(tx, client.id, sha256(secret)))) throw notRotatable(client);
      await this.#needs.record(tx, {
        actor,
        action: "client.rotated",
        subject: client.id,
        projectId: client.projectId,
      });
    });
    const { kind, projectId, scopes } = client;
    return { ...shown(client.id, secret), kind, scope: scopes.join(" "), project_id: projectId };
  }

  /** Stops the client, its tokens and its keys. Again is no error and changes nothing. Throws `stale_version`. */
  async revoke(actor: Actor, clientId: string, seen: number | null = null): Promise<ClientLine> {
    const client = await this.#get(clientId);
    if (client.id === desktopClientId) throw builtIn();
    await this.#needs.database.transaction(async (tx) => {
      requireVersion((await lockClient(tx, client.id)) ?? client, seen);
      if (!(await revokeClient(tx, client.id))) return;
      await this.#needs.revocations.record(tx, client.id);
      await this.#needs.record(tx, {
        actor,
        action: "client.revoked",
        subject: client.id,
        projectId: client.projectId,
      });
    });
    await this.#needs.revocations.announce();
    return lineOf(await this.#get(clientId));
  }

  async #get(id: string): Promise<ClientRow> {
    const client = await findClient(this.#needs.database.db, id);
    if (client === undefined) throw notFound(`There is no client ${id}.`);
    return client;
  }
}

export type ClientChange = {
  name?: string | undefined;
  redirectUris?: readonly string[] | undefined;
  /** Space-separated. */
  scope?: string | undefined;
};

function changeOf(
  client: ClientRow,
  { name, redirectUris, scope }: ClientChange,
): Partial<Pick<ClientRow, "name" | "scopes" | "redirectUris">> {
  const owner = clientOwner(client);
  return {
    ...(name === undefined ? {} : { name: parseName(name) }),
    ...(redirectUris === undefined ? {} : { redirectUris: parseRedirectUris(client.kind, redirectUris) }),
    ...(scope === undefined ? {} : { scopes: registeredScopes(scope, owner, ceiling(owner)) }),
  };
}

/** Throws `not_found`, or `closed` for an archived one. */
export async function requireOpenProject(db: Db, id: string): Promise<void> {
  const project = await findProject(db, id);
  if (project === undefined) throw notFound(`There is no project ${id}.`);
  if (project.archivedAt !== null) {
    throw new Failure("conflict", "closed", `The project ${id} is archived; nothing new can be bound to it.`);
  }
}

export const clientOwner = (row: ClientRow): Owner => ({
  kind: "client",
  clientKind: row.kind,
  projectId: row.projectId,
});

function ownerOf(kind: ClientKind, projectId: string | null): Owner {
  if (kind === "desktop" && projectId !== null) {
    throw new Failure(
      "unprocessable",
      "invalid_request",
      "A desktop client carries a person's rights and is not bound to a project. Leave the project out.",
    );
  }
  return { kind: "client", clientKind: kind, projectId };
}

export function parseName(text: string): string {
  const parsed = clientNameForm.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new Failure(
    "unprocessable",
    "invalid_name",
    "A client's name has 1 to 200 characters, none of them control characters.",
  );
}

function parseRedirectUris(kind: ClientKind, uris: readonly string[]): string[] {
  if (kind !== "desktop" && uris.length > 0) throw badRedirect(`A ${kind} client has no redirect URIs.`);
  for (const uri of uris) {
    const why = whyNotRedirect(uri);
    if (why !== null) throw badRedirect(`${uri}: ${why}.`);
  }
  return [...new Set(uris)];
}

const badRedirect = (why: string): Failure => new Failure("unprocessable", "invalid_redirect_uri", why);

const notRotatable = (client: ClientRow): Failure =>
  client.kind === "desktop"
    ? new Failure(
        "unprocessable",
        "invalid_request",
        "A desktop client is public and has no secret to rotate.",
      )
    : closed(client);

const closed = (client: ClientRow): Failure =>
  new Failure("conflict", "closed", `The client ${client.id} is revoked.`);

const builtIn = (): Failure =>
  new Failure(
    "conflict",
    "built_in",
    `${desktopClientId} is always there. End a person's sign-ins instead, or disable the person.`,
  );

const shown = (id: string, secret: string | null): { client_id: string; client_secret?: string } => ({
  client_id: id,
  ...(secret === null ? {} : { client_secret: secret }),
});

export const lineOf = (row: ClientRow): ClientLine => ({
  client_id: row.id,
  name: row.name,
  kind: row.kind,
  scope: row.scopes.join(" "),
  project_id: row.projectId,
  redirect_uris: row.redirectUris,
  created_at: row.createdAt.toISOString(),
  revoked_at: row.revokedAt?.toISOString() ?? null,
  version: row.version,
});
