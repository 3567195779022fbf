CREATE TABLE "mcp_pins" (
	"alias" text NOT NULL,
	"tool" text NOT NULL,
	"status" text NOT NULL,
	"pin" text,
	"definition" jsonb,
	"seen_pin" text NOT NULL,
	"seen_definition" jsonb NOT NULL,
	"first_seen_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"changed_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"gone_at" timestamp (3) with time zone,
	"decided_by" text,
	"decided_at" timestamp (3) with time zone,
	"version" integer DEFAULT 1 NOT NULL,
	CONSTRAINT "mcp_pins_alias_tool_pk" PRIMARY KEY("alias","tool")
);
--> statement-breakpoint
CREATE TABLE "mcp_policies" (
	"principal" text NOT NULL,
	"revision" integer NOT NULL,
	"rules" jsonb NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "mcp_policies_principal_revision_pk" PRIMARY KEY("principal","revision")
);
