/**
 * Tasks as MCP resources. A task is told as JSON and nothing else: no text of its own can pass for what stands around it.
 */

import type { Database } from "../../db/database.ts";
import { newestIds } from "../../db/newest.ts";
import type { ResourceSource } from "../../platform/mcp-sources.ts";
import { type ThingResourcesNeeds, thingResources } from "../../platform/thing-resources.ts";
import { listTitles } from "./store.ts";
import type { Tasks } from "./tasks.ts";

export type TaskResourcesNeeds = ThingResourcesNeeds & { tasks: Tasks; database: Database };

const mimeType = "application/json";

export const taskResources = (needs: TaskResourcesNeeds): ResourceSource =>
  thingResources(needs, {
    prefix: "tsk",
    kind: "task",
    template: { name: "task", title: "Task", description: "One task with all of its fields.", mimeType },
    async newest(principal, range) {
      const { db } = needs.database;
      const rows = await listTitles(db, await newestIds(db, "tasks", principal, range));
      return rows.map(({ id, title, status, sessionId }) => ({
        id,
        name: id,
        title,
        description: `A task of ${sessionId}, ${status}.`,
        mimeType,
      }));
    },
    read: async (id) => ({ mimeType, text: JSON.stringify(await needs.tasks.get(id), null, 2) }),
  });
