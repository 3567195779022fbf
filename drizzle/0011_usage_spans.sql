CREATE TABLE "usage_marks" (
	"name" text PRIMARY KEY NOT NULL,
	"at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "usage_spans" (
	"span" text NOT NULL,
	"level" text NOT NULL,
	"tag" text NOT NULL,
	"starts_at" timestamp (3) with time zone NOT NULL,
	"provider" text NOT NULL,
	"model" text NOT NULL,
	"project_id" text NOT NULL,
	"session_id" text NOT NULL,
	"iteration_id" text NOT NULL,
	"task_id" text NOT NULL,
	"user_id" text NOT NULL,
	"client_id" text NOT NULL,
	"key_id" text NOT NULL,
	"requests" bigint NOT NULL,
	"errors" bigint NOT NULL,
	"input" bigint NOT NULL,
	"output" bigint NOT NULL,
	"cached_read" bigint NOT NULL,
	"cache_write" bigint NOT NULL,
	"reasoning" bigint NOT NULL,
	"audio" bigint NOT NULL,
	"cost_nano" bigint NOT NULL,
	"charged_nano" bigint NOT NULL,
	"unknown_nano" bigint NOT NULL,
	"latency" numeric NOT NULL,
	"first_token" numeric NOT NULL,
	CONSTRAINT "usage_spans_pk" PRIMARY KEY("span","level","tag","starts_at","provider","model","project_id","session_id","iteration_id","task_id","user_id","client_id","key_id")
);
--> statement-breakpoint
-- A latency as a histogram that counts it alone: 1 followed by twelve zeros for each bucket below its own. So histograms
-- are added up like any number, up to 10^12 in a bucket (features/usage/histogram.ts).
CREATE FUNCTION latency_count(ms integer) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ('1e' || (12 * CASE
    WHEN ms > 1 THEN least(255, ceil(ln(ms::float8) / ln(1.1::float8)))::int
    WHEN ms IS NOT NULL THEN 0
  END)::text)::numeric
$$;
--> statement-breakpoint
CREATE FUNCTION counts_number(counts bigint[]) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(sum(n * ('1e' || 12 * (bucket - 1))::numeric), 0)
  FROM unnest(counts) WITH ORDINALITY AS one(n, bucket) WHERE n <> 0
$$;
--> statement-breakpoint
ALTER TABLE "usage_hours" ALTER COLUMN "latency" SET DATA TYPE numeric USING counts_number(latency),
  ALTER COLUMN "first_token" SET DATA TYPE numeric USING counts_number(first_token);
--> statement-breakpoint
ALTER TABLE "usage_tag_hours" ALTER COLUMN "latency" SET DATA TYPE numeric USING counts_number(latency),
  ALTER COLUMN "first_token" SET DATA TYPE numeric USING counts_number(first_token);
--> statement-breakpoint
DROP FUNCTION counts_number(bigint[]);
--> statement-breakpoint
DROP FUNCTION add_counts(bigint[], bigint[]);
--> statement-breakpoint
CREATE INDEX "usage_spans_project" ON "usage_spans" USING btree ("project_id","level","span","starts_at") WHERE project_id <> '';--> statement-breakpoint
CREATE INDEX "usage_spans_user" ON "usage_spans" USING btree ("user_id","level","span","starts_at") WHERE user_id <> '';--> statement-breakpoint
CREATE INDEX "usage_spans_client" ON "usage_spans" USING btree ("client_id","level","span","starts_at") WHERE client_id <> '';--> statement-breakpoint
CREATE INDEX "usage_spans_key" ON "usage_spans" USING btree ("key_id","span","starts_at") WHERE key_id <> '';--> statement-breakpoint
CREATE INDEX "usage_spans_session" ON "usage_spans" USING btree ("session_id","span","starts_at") WHERE session_id <> '';--> statement-breakpoint
CREATE INDEX "usage_spans_task" ON "usage_spans" USING btree ("task_id","span","starts_at") WHERE task_id <> '';