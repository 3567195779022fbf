/**
 * Projects: what credentials are bound to and what spending is filed under.
 *
 * A project's name is free text and need not be unique: ids decide. Every change writes its audit entry in its own
 * transaction. Projects are never deleted: the books name them.
 */
import type { Actor, RecordAudit } from "../../db/audit-entry.ts";
import type { Database } from "../../db/database.ts";
import { Failure } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type ProjectLine, type ProjectView, projectNameForm } from "./contract.ts";
import { insertProject, listProjects } from "./store.ts";

export type ProjectsNeeds = { database: Database; record: RecordAudit };

export class Projects {
  readonly #needs: ProjectsNeeds;

  constructor(needs: ProjectsNeeds) {
    this.#needs = needs;
  }

  /** Throws `invalid_name`. */
  async create(actor: Actor, project: { name: string }): Promise<ProjectView> {
    const name = parseName(project.name);
    const id = newId("prj");
    await this.#needs.database.transaction(async (tx) => {
      await insertProject(tx, { id, name });
      await this.#needs.record(tx, {
        actor,
        action: "project.created",
        subject: id,
        projectId: id,
        details: { name },
      });
    });
    return { id, name };
  }

  async list(): Promise<ProjectLine[]> {
    const rows = await listProjects(this.#needs.database.db);
    return rows.map(({ id, name, archivedAt }) => ({ id, name, archived: archivedAt !== null }));
  }
}

function parseName(text: string): string {
  const parsed = projectNameForm.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new Failure(
    "unprocessable",
    "invalid_name",
    "A project's name has 1 to 200 characters, none of them control characters.",
  );
}
