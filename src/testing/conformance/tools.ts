/** Tools that the suite calls in both eras: one kind of content each, progress, logs, errors, odd schemas. */
import { MissingRequiredClientCapabilityError } from "@modelcontextprotocol/server";
import type { ProtocolTool } from "../../platform/mcp-sources.ts";
import { capabilitiesOf, type Fixture, fixtureTool, image, said, wav, words } from "./contents.ts";

const pauseMs = 50;

/** `changeTools` makes the list another one, and next time what it was. */
export function plainTools(changeTools: () => void): ProtocolTool[] {
  const change: Fixture = {
    name: "test_trigger_tool_change",
    description: "Changes the list of tools.",
    answer() {
      changeTools();
      return said("The list of tools changes now.");
    },
  };
  return [...contentTools, ...speakingTools, ...schemaTools, change].map(fixtureTool);
}

const contentTools: Fixture[] = [
  {
    name: "test_simple_text",
    description: "Answers with a text.",
    answer: () => said("This is a simple text response for testing."),
  },
  { name: "test_image_content", description: "Answers with an image.", answer: () => ({ content: [image] }) },
  {
    name: "test_audio_content",
    description: "Answers with a sound.",
    answer: () => ({ content: [{ type: "audio", data: wav, mimeType: "audio/wav" }] }),
  },
  {
    name: "test_embedded_resource",
    description: "Answers with a resource.",
    answer: () => ({
      content: [
        {
          type: "resource",
          resource: {
            uri: "test://embedded-resource",
            mimeType: "text/plain",
            text: "This is an embedded resource content.",
          },
        },
      ],
    }),
  },
  {
    name: "test_multiple_content_types",
    description: "Answers with a text, an image and a resource.",
    answer: () => ({
      content: [
        words("Multiple content types test:"),
        image,
        {
          type: "resource",
          resource: {
            uri: "test://mixed-content-resource",
            mimeType: "application/json",
            text: JSON.stringify({ test: "data", value: 123 }),
          },
        },
      ],
    }),
  },
];

const speakingTools: Fixture[] = [
  {
    name: "test_error_handling",
    description: "Fails.",
    answer: () => ({ ...said("This tool intentionally returns an error for testing"), isError: true }),
  },
  {
    name: "test_tool_with_logging",
    description: "Logs three lines on its way.",
    async answer(_args, { mcpReq }) {
      await mcpReq.log("info", "Tool execution started");
      await Bun.sleep(pauseMs);
      await mcpReq.log("info", "Tool processing data");
      await Bun.sleep(pauseMs);
      await mcpReq.log("info", "Tool execution completed");
      return said("Three lines were logged.");
    },
  },
  {
    name: "test_logging_tool",
    description: "Logs a line when the caller asked for logs.",
    async answer(_args, { mcpReq }) {
      await mcpReq.log("info", "A line of the log");
      return said("A line was logged, for whoever wants it.");
    },
  },
  {
    name: "test_tool_with_progress",
    description: "Tells how far it is, three times.",
    async answer(_args, { mcpReq }) {
      const progressToken = mcpReq._meta?.progressToken;
      for (const progress of [0, 50, 100]) {
        const params = { progressToken: progressToken ?? 0, progress, total: 100 };
        if (progressToken !== undefined) await mcpReq.notify({ method: "notifications/progress", params });
        if (progress < 100) await Bun.sleep(pauseMs);
      }
      return said("Done.");
    },
  },
  {
    name: "test_streaming_elicitation",
    description: "Tells how far it is, and needs nothing.",
    async answer(_args, { mcpReq }) {
      const progressToken = mcpReq._meta?.progressToken;
      const params = { progressToken: progressToken ?? 0, progress: 1 };
      if (progressToken !== undefined) await mcpReq.notify({ method: "notifications/progress", params });
      return said("No question was asked on the stream.");
    },
  },
  {
    name: "test_missing_capability",
    description: "Needs a client that can sample.",
    answer(_args, context) {
      if (capabilitiesOf(context).sampling === undefined)
        throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { sampling: {} } });
      return said("The client can sample.");
    },
  },
];

const schemaTools: Fixture[] = [
  {
    name: "json_schema_2020_12_tool",
    description: "Tool with JSON Schema 2020-12 features",
    inputSchema: {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      $defs: {
        address: {
          $anchor: "addressDef",
          type: "object",
          properties: { street: { type: "string" }, city: { type: "string" } },
        },
      },
      properties: {
        name: { type: "string" },
        address: { $ref: "#/$defs/address" },
        contactMethod: { type: "string", enum: ["phone", "email"] },
        phone: { type: "string" },
        email: { type: "string" },
      },
      allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
      if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema.
      then: { required: ["phone"] },
      else: { required: ["email"] },
      additionalProperties: false,
    },
    answer: (args) => said(JSON.stringify(args)),
  },
  {
    name: "test_header_argument",
    description: "Takes an argument that stands in a header too.",
    properties: { region: { type: "string", "x-mcp-header": "Region" } },
    required: ["region"],
    answer: ({ region }) => said(`Region: ${String(region)}`),
  },
];
