CREATE TABLE "artifact_room" (
	"owner" text PRIMARY KEY NOT NULL,
	"size_bytes" bigint NOT NULL,
	"objects" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "artifacts" (
	"id" text PRIMARY KEY NOT NULL,
	"owner" text NOT NULL,
	"session_id" text,
	"iteration_id" text,
	"kind" text NOT NULL,
	"name" text NOT NULL,
	"content_type" text NOT NULL,
	"size_bytes" bigint NOT NULL,
	"sha256" text NOT NULL,
	"place" text NOT NULL,
	"key" text NOT NULL,
	"status" text NOT NULL,
	"checked_by" text,
	"etag" text,
	"created_by" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"upload_until" timestamp (3) with time zone NOT NULL,
	"completed_at" timestamp (3) with time zone,
	"expires_at" timestamp (3) with time zone,
	"ended_by" text,
	"ended_at" timestamp (3) with time zone,
	"version" integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
ALTER TABLE "artifacts" ADD CONSTRAINT "artifacts_session_id_sessions_id_fk" FOREIGN KEY ("session_id") REFERENCES "public"."sessions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "artifacts" ADD CONSTRAINT "artifacts_iteration_id_iterations_id_fk" FOREIGN KEY ("iteration_id") REFERENCES "public"."iterations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "artifacts_session" ON "artifacts" USING btree ("session_id","id");--> statement-breakpoint
CREATE INDEX "artifacts_owner" ON "artifacts" USING btree ("owner","id");--> statement-breakpoint
CREATE INDEX "artifacts_expiring" ON "artifacts" USING btree ("expires_at") WHERE status in ('pending', 'complete');--> statement-breakpoint
CREATE INDEX "artifacts_ended" ON "artifacts" USING btree ("id") WHERE status in ('rejected', 'deleted');