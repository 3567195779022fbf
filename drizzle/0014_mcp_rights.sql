-- What the gateway may do with the new tables.

CREATE OR REPLACE FUNCTION grant_gateway(role_name name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role_name);
  EXECUTE format(
    'GRANT SELECT, INSERT, UPDATE, DELETE ON users, projects, project_members, clients, api_keys, sign_ins,
       refresh_tokens, authorization_codes, device_codes, tickets, setup_links, revocations, signing_secrets,
       instances, watermarks, requests, attempts, usage_hours, audit_keys, sessions, iterations, tasks,
       gate_policies, waivers, approvals, events, idempotency, artifacts, artifact_room,
       usage_tag_hours, usage_spans, usage_marks, provider_states, price_overrides, budgets, budget_periods, holds, alarms, alert_hooks,
       alert_deliveries, mcp_pins TO %I', role_name);
  EXECUTE format(
    'GRANT SELECT, INSERT ON audit, audit_seals, task_history, reports, checks, gate_evaluations, mcp_policies TO %I', role_name);
  -- A row's id is part of its hash, so it is drawn before the row is inserted.
  EXECUTE format('GRANT USAGE ON SEQUENCE audit_id_seq TO %I', role_name);
  EXECUTE format('GRANT SELECT ON schema_migrations TO %I', role_name);
END $$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION grant_gateway(name) FROM PUBLIC;
