-- What the table definitions cannot say: rows that nobody may change, rights, and functions.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
--> statement-breakpoint
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
--> statement-breakpoint
CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
--> statement-breakpoint
-- Replication roles skip ordinary triggers; these hold there too.
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_append_only;
--> statement-breakpoint
ALTER TABLE audit_seals ENABLE ALWAYS TRIGGER audit_seals_append_only;
--> statement-breakpoint
-- Element by element; a shorter array counts as padded with zeros, null as empty.
CREATE FUNCTION add_counts(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(coalesce(x, 0) + coalesce(y, 0)), '{}') FROM unnest(a, b) AS pair(x, y)
$$;
--> statement-breakpoint
-- The gateway's role reads and writes rows and owns nothing. migrate() calls this with that role's name; a later
-- migration that adds a table says there what the gateway may do with it, by replacing this function.
CREATE FUNCTION grant_gateway(role_name name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role_name);
  EXECUTE format(
    'GRANT SELECT, INSERT, UPDATE, DELETE ON users, projects, clients, api_keys, revocations, signing_secrets,
       instances, watermarks, requests, attempts, usage_hours, audit_keys TO %I', role_name);
  EXECUTE format('GRANT SELECT, INSERT ON audit, audit_seals TO %I', role_name);
  -- A row's id is part of its hash, so it is drawn before the row is inserted.
  EXECUTE format('GRANT USAGE ON SEQUENCE audit_id_seq TO %I', role_name);
  EXECUTE format('GRANT SELECT ON schema_migrations TO %I', role_name);
END $$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION grant_gateway(name) FROM PUBLIC;
