/** Resources and prompts that the suite reads. */
import { inputRequired } from "@modelcontextprotocol/server";
import type { PromptSource, ResourceContents, ResourceSource } from "../../platform/mcp-sources.ts";
import { elicit, responseTo } from "./asking-tools.ts";
import { image, png, words } from "./contents.ts";

const texts = [
  { uri: "test://static-text", text: "This is the content of the static text resource." },
  { uri: "test://watched-resource", text: "This resource may be watched." },
];
const templateForm = /^test:\/\/template\/([^/]+)\/data$/;

export const fixtureResources: ResourceSource = {
  templates: [
    {
      uriTemplate: "test://template/{id}/data",
      name: "Template",
      description: "A resource for each id.",
      mimeType: "application/json",
    },
  ],
  list: async () => ({
    resources: [
      ...texts.map(({ uri, text }) => ({
        uri,
        name: uri.slice(7),
        description: text,
        mimeType: "text/plain",
      })),
      { uri: "test://static-binary", name: "static-binary", description: "A pixel.", mimeType: "image/png" },
    ],
    nextCursor: null,
  }),
  async read(uri): Promise<ResourceContents[] | null> {
    if (uri === "test://static-binary") return [{ uri, mimeType: "image/png", blob: png }];
    const found = texts.find((text) => text.uri === uri);
    if (found !== undefined) return [{ ...found, mimeType: "text/plain" }];
    const id = templateForm.exec(uri)?.[1];
    if (id === undefined) return null;
    const text = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
    return [{ uri, mimeType: "application/json", text }];
  },
};

const user = (content: Record<string, unknown>) => ({ role: "user" as const, content });
const argument = (name: string, description: string) => ({ name, description, required: true });

export const fixturePrompts: PromptSource[] = [
  {
    name: "test_simple_prompt",
    description: "A prompt without arguments.",
    arguments: [],
    get: async () => ({ messages: [user(words("This is a simple prompt for testing."))] }),
  },
  {
    name: "test_prompt_with_arguments",
    description: "A prompt with two arguments.",
    arguments: [argument("arg1", "First test argument"), argument("arg2", "Second test argument")],
    get: async ({ arg1, arg2 }) => ({
      messages: [user(words(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
    }),
    complete: async (_argument, typed) =>
      ["test", "testing", "text"].filter((value) => value.startsWith(typed)),
  },
  {
    name: "test_prompt_with_embedded_resource",
    description: "A prompt with a resource in it.",
    arguments: [argument("resourceUri", "URI of the resource to embed")],
    get: async ({ resourceUri = "" }) => ({
      messages: [
        user({
          type: "resource",
          resource: {
            uri: resourceUri,
            mimeType: "text/plain",
            text: "Embedded resource content for testing.",
          },
        }),
        user(words("Please process the embedded resource above.")),
      ],
    }),
  },
  {
    name: "test_prompt_with_image",
    description: "A prompt with an image in it.",
    arguments: [],
    get: async () => ({ messages: [user(image), user(words("Please analyze the image above."))] }),
  },
  {
    name: "test_input_required_result_prompt",
    description: "A prompt that asks for a context first.",
    arguments: [],
    async get(_given, _asking, context) {
      const response = responseTo(context, "user_context", "elicit");
      if (response?.kind === "elicit")
        return { messages: [user(words(`Context: ${JSON.stringify(response.content)}`))] };
      const asked = elicit("What context should the prompt use?", { context: { type: "string" } });
      return inputRequired({ inputRequests: { user_context: asked } });
    },
  },
];
