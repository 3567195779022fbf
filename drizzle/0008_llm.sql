CREATE TABLE "alarms" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "alarms_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"type" text NOT NULL,
	"once" text NOT NULL,
	"payload" jsonb NOT NULL,
	"at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"handed_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "alert_deliveries" (
	"id" text PRIMARY KEY NOT NULL,
	"hook_id" text NOT NULL,
	"message_id" text NOT NULL,
	"type" text NOT NULL,
	"payload" jsonb NOT NULL,
	"status" text NOT NULL,
	"tries" integer DEFAULT 0 NOT NULL,
	"next_at" timestamp (3) with time zone,
	"last_status" integer,
	"last_error" text,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"ended_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "alert_hooks" (
	"id" text PRIMARY KEY NOT NULL,
	"url" text NOT NULL,
	"events" text[] NOT NULL,
	"kid" text NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"ended_at" timestamp (3) with time zone,
	"version" integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE "budget_periods" (
	"id" text PRIMARY KEY NOT NULL,
	"budget_id" text NOT NULL,
	"starts_at" timestamp (3) with time zone NOT NULL,
	"ends_at" timestamp (3) with time zone,
	"spent_nano" bigint DEFAULT 0 NOT NULL,
	"held_nano" bigint DEFAULT 0 NOT NULL,
	"told_percent" integer DEFAULT 0 NOT NULL,
	"exhausted_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "budgets" (
	"id" text PRIMARY KEY NOT NULL,
	"subject" text NOT NULL,
	"subject_id" text,
	"period" text NOT NULL,
	"timezone" text NOT NULL,
	"week_start" text NOT NULL,
	"limit_nano" bigint NOT NULL,
	"thresholds" integer[] NOT NULL,
	"hard" boolean NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"ended_at" timestamp (3) with time zone,
	"version" integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE "holds" (
	"req" text PRIMARY KEY NOT NULL,
	"periods" text[] NOT NULL,
	"nano" bigint NOT NULL,
	"instance" uuid NOT NULL,
	"epoch" integer NOT NULL,
	"boot_id" text NOT NULL,
	"at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "price_overrides" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "price_overrides_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"model" text NOT NULL,
	"prices" jsonb,
	"effective_from" timestamp (3) with time zone NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "provider_states" (
	"provider" text NOT NULL,
	"id" text NOT NULL,
	"owner" text NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "provider_states_provider_id_owner_pk" PRIMARY KEY("provider","id","owner")
);
--> statement-breakpoint
CREATE TABLE "usage_tag_hours" (
	"tag" text NOT NULL,
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
	CONSTRAINT "usage_tag_hours_hour_tag_provider_model_project_id_session_id_iteration_id_task_id_user_id_client_id_key_id_pk" PRIMARY KEY("hour","tag","provider","model","project_id","session_id","iteration_id","task_id","user_id","client_id","key_id")
);
--> statement-breakpoint
CREATE UNIQUE INDEX "alarms_once" ON "alarms" USING btree ("once");--> statement-breakpoint
CREATE INDEX "alarms_open" ON "alarms" USING btree ("id") WHERE handed_at is null;--> statement-breakpoint
CREATE INDEX "alert_deliveries_hook" ON "alert_deliveries" USING btree ("hook_id","created_at","id");--> statement-breakpoint
CREATE INDEX "alert_deliveries_due" ON "alert_deliveries" USING btree ("next_at") WHERE status = 'pending';--> statement-breakpoint
CREATE INDEX "budget_periods_budget" ON "budget_periods" USING btree ("budget_id","starts_at");--> statement-breakpoint
CREATE INDEX "budgets_subject" ON "budgets" USING btree ("subject","subject_id") WHERE ended_at is null;--> statement-breakpoint
CREATE INDEX "holds_instance" ON "holds" USING btree ("instance","epoch");--> statement-breakpoint
CREATE INDEX "price_overrides_model" ON "price_overrides" USING btree ("model","effective_from");--> statement-breakpoint
CREATE INDEX "provider_states_at" ON "provider_states" USING btree ("at");--> statement-breakpoint
CREATE INDEX "usage_tag_hours_client" ON "usage_tag_hours" USING btree ("client_id","hour");--> statement-breakpoint
CREATE INDEX "usage_tag_hours_project" ON "usage_tag_hours" USING btree ("project_id","hour");--> statement-breakpoint
CREATE INDEX "requests_session" ON "requests" USING btree ("session_id","at","id") WHERE session_id is not null;--> statement-breakpoint
CREATE INDEX "requests_task" ON "requests" USING btree ("task_id","at","id") WHERE task_id is not null;--> statement-breakpoint
CREATE INDEX "requests_key" ON "requests" USING btree ("key_id","at","id") WHERE key_id is not null;--> statement-breakpoint
CREATE INDEX "usage_hours_user" ON "usage_hours" USING btree ("user_id","hour");--> statement-breakpoint
CREATE INDEX "usage_hours_key" ON "usage_hours" USING btree ("key_id","hour");