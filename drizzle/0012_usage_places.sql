CREATE INDEX "requests_iteration" ON "requests" USING btree ("iteration_id","at","id") WHERE iteration_id is not null;--> statement-breakpoint
-- Where in its hour a row of usage_hours (its tag is empty) or of usage_tag_hours is folded: spread evenly, so that an hour
-- of many rows is folded piece by piece, and always the same.
CREATE FUNCTION fold_slot(
  tag text, provider text, model text, project_id text, session_id text, iteration_id text, task_id text, user_id text,
  client_id text, key_id text
) RETURNS int LANGUAGE sql IMMUTABLE AS $$
  SELECT (hashtext(coalesce(tag, '') || provider || model || coalesce(project_id, '') || coalesce(session_id, '')
    || coalesce(iteration_id, '') || coalesce(task_id, '') || coalesce(user_id, '') || coalesce(client_id, '')
    || coalesce(key_id, '')) & 2147483647) % 3600000
$$;
--> statement-breakpoint
CREATE INDEX "usage_hours_slot" ON "usage_hours" (hour, fold_slot('', provider, model, project_id, session_id, iteration_id,
  task_id, user_id, client_id, key_id));
--> statement-breakpoint
CREATE INDEX "usage_tag_hours_slot" ON "usage_tag_hours" (hour, fold_slot(tag, provider, model, project_id, session_id,
  iteration_id, task_id, user_id, client_id, key_id));
--> statement-breakpoint
CREATE FUNCTION fold_place(
  hour timestamptz, tag text, provider text, model text, project_id text, session_id text, iteration_id text, task_id text,
  user_id text, client_id text, key_id text
) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT hour + fold_slot(tag, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id)
    * interval '1 millisecond'
$$;
