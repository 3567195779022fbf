CREATE TABLE "api_keys" (
	"id" text PRIMARY KEY NOT NULL,
	"hash" "bytea" NOT NULL,
	"hint" text NOT NULL,
	"user_id" text,
	"client_id" text,
	"project_id" text,
	"scopes" text[] NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	"revoked_at" timestamp (3) with time zone,
	"version" integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE "attempts" (
	"request_id" text NOT NULL,
	"attempt" integer NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"provider" text NOT NULL,
	"model" text NOT NULL,
	"state" text NOT NULL,
	"status" integer,
	"error" text,
	"input" bigint,
	"output" bigint,
	"cached_read" bigint,
	"cache_write" bigint,
	"reasoning" bigint,
	"audio" bigint,
	"cost_nano" bigint,
	"prices" jsonb,
	"first_token_ms" integer,
	"duration_ms" integer,
	CONSTRAINT "attempts_request_id_attempt_pk" PRIMARY KEY("request_id","attempt")
);
--> statement-breakpoint
CREATE TABLE "audit" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "audit_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"xid" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	"epoch" integer NOT NULL,
	"event_id" text NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"actor" text NOT NULL,
	"actor_kind" text NOT NULL,
	"client_id" text,
	"action" text NOT NULL,
	"subject" text,
	"project_id" text,
	"session_id" text,
	"ip" text,
	"user_agent" text,
	"request_id" text,
	"outcome" text NOT NULL,
	"details" jsonb NOT NULL,
	"row_hash" "bytea" NOT NULL
);
--> statement-breakpoint
CREATE TABLE "audit_keys" (
	"id" text PRIMARY KEY NOT NULL,
	"public_key" "bytea" NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "audit_seals" (
	"epoch" integer NOT NULL,
	"no" bigint NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"from_xid" "xid8" NOT NULL,
	"to_xid" "xid8" NOT NULL,
	"rows" integer NOT NULL,
	"prev_hash" "bytea" NOT NULL,
	"hash" "bytea" NOT NULL,
	"signature" "bytea" NOT NULL,
	"key_id" text NOT NULL,
	CONSTRAINT "audit_seals_epoch_no_pk" PRIMARY KEY("epoch","no")
);
--> statement-breakpoint
CREATE TABLE "clients" (
	"id" text PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"kind" text NOT NULL,
	"project_id" text,
	"scopes" text[] NOT NULL,
	"redirect_uris" text[] NOT NULL,
	"secret_hash" "bytea",
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"revoked_at" timestamp (3) with time zone,
	"version" integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE "instances" (
	"id" uuid PRIMARY KEY NOT NULL,
	"epoch" integer NOT NULL,
	"nonce" text NOT NULL,
	"heartbeat_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "projects" (
	"id" text PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"archived_at" timestamp (3) with time zone,
	"version" integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE "requests" (
	"id" text PRIMARY KEY NOT NULL,
	"state" text NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"endpoint" text NOT NULL,
	"requested_model" text NOT NULL,
	"provider" text NOT NULL,
	"model" text NOT NULL,
	"principal" text NOT NULL,
	"user_id" text,
	"client_id" text,
	"key_id" text,
	"project_id" text,
	"session_id" text,
	"iteration_id" text,
	"task_id" text,
	"tags" jsonb,
	"stream" boolean NOT NULL,
	"trace_id" text,
	"idempotency_key" text,
	"status" integer,
	"delivery" text,
	"input" bigint,
	"output" bigint,
	"cached_read" bigint,
	"cache_write" bigint,
	"reasoning" bigint,
	"audio" bigint,
	"cost_nano" bigint,
	"charged_nano" bigint,
	"prices" jsonb,
	"hold_nano" bigint,
	"periods" text[],
	"first_token_ms" integer,
	"duration_ms" integer,
	"instance" uuid NOT NULL,
	"epoch" integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE "revocations" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "revocations_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"xid" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	"at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"subject" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "signing_secrets" (
	"kid" text PRIMARY KEY NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "usage_hours" (
	"hour" timestamp (3) with time zone NOT NULL,
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
	"latency" bigint[] NOT NULL,
	"first_token" bigint[] NOT NULL,
	CONSTRAINT "usage_hours_hour_provider_model_project_id_session_id_iteration_id_task_id_user_id_client_id_key_id_pk" PRIMARY KEY("hour","provider","model","project_id","session_id","iteration_id","task_id","user_id","client_id","key_id")
);
--> statement-breakpoint
CREATE TABLE "users" (
	"id" text PRIMARY KEY NOT NULL,
	"email" text NOT NULL,
	"role" text NOT NULL,
	"password_hash" text,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"disabled_at" timestamp (3) with time zone,
	"version" integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE "watermarks" (
	"instance" uuid NOT NULL,
	"epoch" integer NOT NULL,
	"lsn" bigint NOT NULL,
	CONSTRAINT "watermarks_instance_epoch_pk" PRIMARY KEY("instance","epoch")
);
--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_client_id_clients_id_fk" FOREIGN KEY ("client_id") REFERENCES "public"."clients"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_project_id_projects_id_fk" FOREIGN KEY ("project_id") REFERENCES "public"."projects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "clients" ADD CONSTRAINT "clients_project_id_projects_id_fk" FOREIGN KEY ("project_id") REFERENCES "public"."projects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "api_keys_hash" ON "api_keys" USING btree ("hash");--> statement-breakpoint
CREATE INDEX "audit_xid" ON "audit" USING btree ("xid","id");--> statement-breakpoint
CREATE INDEX "audit_at" ON "audit" USING btree ("at","id");--> statement-breakpoint
CREATE INDEX "requests_at" ON "requests" USING btree ("at","id");--> statement-breakpoint
CREATE INDEX "requests_client" ON "requests" USING btree ("client_id","at","id");--> statement-breakpoint
CREATE INDEX "requests_user" ON "requests" USING btree ("user_id","at","id");--> statement-breakpoint
CREATE INDEX "requests_project" ON "requests" USING btree ("project_id","at","id");--> statement-breakpoint
CREATE INDEX "requests_open" ON "requests" USING btree ("instance","epoch") WHERE state = 'open';--> statement-breakpoint
CREATE INDEX "revocations_xid" ON "revocations" USING btree ("xid","id");--> statement-breakpoint
CREATE INDEX "revocations_subject" ON "revocations" USING btree ("subject");--> statement-breakpoint
CREATE INDEX "usage_hours_client" ON "usage_hours" USING btree ("client_id","hour");--> statement-breakpoint
CREATE INDEX "usage_hours_project" ON "usage_hours" USING btree ("project_id","hour");--> statement-breakpoint
CREATE UNIQUE INDEX "users_email" ON "users" USING btree (lower("email"));