// Written by scripts/migrations.ts.
import m0000 from "./0000_schema.sql" with { type: "text" };
import m0001 from "./0001_guards.sql" with { type: "text" };
import m0002 from "./0002_people.sql" with { type: "text" };
import m0003 from "./0003_people_rights.sql" with { type: "text" };
import m0004 from "./0004_control_plane.sql" with { type: "text" };
import m0005 from "./0005_control_plane_rights.sql" with { type: "text" };
import m0006 from "./0006_artifacts.sql" with { type: "text" };
import m0007 from "./0007_artifacts_rights.sql" with { type: "text" };
import m0008 from "./0008_llm.sql" with { type: "text" };
import m0009 from "./0009_llm_rights.sql" with { type: "text" };
import m0010 from "./0010_budget_functions.sql" with { type: "text" };
import m0011 from "./0011_usage_spans.sql" with { type: "text" };
import m0012 from "./0012_usage_places.sql" with { type: "text" };
import m0013 from "./0013_mcp.sql" with { type: "text" };
import m0014 from "./0014_mcp_rights.sql" with { type: "text" };

export const migrations: readonly { readonly name: string; readonly sql: string }[] = [
  { name: "0000_schema", sql: m0000 },
  { name: "0001_guards", sql: m0001 },
  { name: "0002_people", sql: m0002 },
  { name: "0003_people_rights", sql: m0003 },
  { name: "0004_control_plane", sql: m0004 },
  { name: "0005_control_plane_rights", sql: m0005 },
  { name: "0006_artifacts", sql: m0006 },
  { name: "0007_artifacts_rights", sql: m0007 },
  { name: "0008_llm", sql: m0008 },
  { name: "0009_llm_rights", sql: m0009 },
  { name: "0010_budget_functions", sql: m0010 },
  { name: "0011_usage_spans", sql: m0011 },
  { name: "0012_usage_places", sql: m0012 },
  { name: "0013_mcp", sql: m0013 },
  { name: "0014_mcp_rights", sql: m0014 },
];
