-- What the gateway may do with the new tables, and the client that is always there.

CREATE OR REPLACE FUNCTION grant_gateway(role_name name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role_name);
  EXECUTE format(
    'GRANT SELECT, INSERT, UPDATE, DELETE ON users, projects, project_members, clients, api_keys, sign_ins,
       refresh_tokens, authorization_codes, device_codes, tickets, setup_links, revocations, signing_secrets,
       instances, watermarks, requests, attempts, usage_hours, audit_keys TO %I', role_name);
  EXECUTE format('GRANT SELECT, INSERT ON audit, audit_seals TO %I', role_name);
  -- A row's id is part of its hash, so it is drawn before the row is inserted.
  EXECUTE format('GRANT USAGE ON SEQUENCE audit_id_seq TO %I', role_name);
  EXECUTE format('GRANT SELECT ON schema_migrations TO %I', role_name);
END $$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION grant_gateway(name) FROM PUBLIC;
--> statement-breakpoint
-- Public (no secret), for the desktop app and the command line: it holds what the person who signs in ticks.
INSERT INTO clients (id, name, kind, origin, scopes, redirect_uris) VALUES (
  'specgate-desktop', 'SpecGate Desktop', 'desktop', 'builtin',
  ARRAY['llm:chat', 'mcp:read', 'mcp:write', 'control:read', 'control:write', 'artifacts:read', 'artifacts:write',
    'approvals:request', 'approvals:decide', 'usage:read', 'admin'],
  ARRAY['http://127.0.0.1/callback', 'http://localhost/callback', 'http://[::1]/callback',
    'http://127.0.0.1/', 'http://localhost/', 'http://[::1]/']);
