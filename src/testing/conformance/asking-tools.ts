/**
 * Tools that need to ask the client something first. 2026-07-28 answers `input_required` and is called again; before, the
 * server asked in the middle of the call, which takes a way back to it that a server without sessions does not have.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import {
  inputRequired,
  inputResponse,
  ProtocolError,
  type ServerContext,
} from "@modelcontextprotocol/server";
import type { ProtocolTool } from "../../platform/mcp-sources.ts";
import { capabilitiesOf, type Fixture, fixtureTool, said } from "./contents.ts";

type Requests = NonNullable<Parameters<typeof inputRequired>[0]["inputRequests"]>;
type Form = Record<string, { type: "string" } | { type: "boolean" }>;

export const elicit = (message: string, properties: Form): Requests[string] =>
  inputRequired.elicit({
    message,
    requestedSchema: { type: "object", properties, required: Object.keys(properties) },
  });

const sample = (text: string, maxTokens: number): Requests[string] =>
  inputRequired.createMessage({ messages: [{ role: "user", content: { type: "text", text } }], maxTokens });

const ask = (inputRequests: Requests, state?: string): Record<string, unknown> =>
  inputRequired({ inputRequests, ...(state === undefined ? {} : { requestState: seal(state) }) });

/** What came back for this key, of the kind that was asked for; null for nothing. */
export function responseTo({ mcpReq }: ServerContext, key: string, kind: "elicit" | "sampling" | "roots") {
  const response = inputResponse(mcpReq.inputResponses, key);
  return response.kind === kind ? response : null;
}

const secret = crypto.getRandomValues(new Uint8Array(32));
const mark = (state: string): Buffer => createHmac("sha256", secret).update(state).digest();

/** State goes through the client, which is not to be believed. */
const seal = (state: string): string => `${state}.${mark(state).toString("base64url")}`;

/** Null for a first call; throws for what was not sealed here. */
function stateOf({ mcpReq }: ServerContext): string | null {
  const sealed = mcpReq.requestState<string>();
  if (sealed === undefined) return null;
  const [state = "", given = ""] = sealed.split(".");
  const bytes = Buffer.from(given, "base64url");
  const isOwn = sealed === seal(state) && bytes.length === 32 && timingSafeEqual(bytes, mark(state));
  if (!isOwn) throw new ProtocolError(-32_602, "This requestState was not made here.");
  return state;
}

const nameForm: Form = { name: { type: "string" } };

const modern: Fixture[] = [
  {
    name: "test_input_required_result_elicitation",
    description: "Asks for a name.",
    answer(_args, context) {
      const response = responseTo(context, "user_name", "elicit");
      if (response?.kind !== "elicit" || typeof response.content?.name !== "string")
        return ask({ user_name: elicit("What is your name?", nameForm) });
      return said(`Hello, ${response.content.name}!`);
    },
  },
  {
    name: "test_input_required_result_sampling",
    description: "Asks the client's model.",
    answer(_args, context) {
      const response = responseTo(context, "capital_question", "sampling");
      if (response === null) return ask({ capital_question: sample("What is the capital of France?", 100) });
      return said(`The model said: ${JSON.stringify(response)}`);
    },
  },
  {
    name: "test_input_required_result_list_roots",
    description: "Asks for the client's roots.",
    answer(_args, context) {
      const response = responseTo(context, "client_roots", "roots");
      if (response?.kind !== "roots") return ask({ client_roots: inputRequired.listRoots() });
      return said(`Roots: ${response.roots.map(({ uri }) => uri).join(", ")}`);
    },
  },
  {
    name: "test_input_required_result_request_state",
    description: "Asks for a confirmation and knows its own state again.",
    answer(_args, context) {
      const isConfirmed =
        stateOf(context) === "confirming" && responseTo(context, "confirm", "elicit") !== null;
      if (isConfirmed) return said("state-ok");
      return ask({ confirm: elicit("Please confirm", { ok: { type: "boolean" } }) }, "confirming");
    },
  },
  {
    name: "test_input_required_result_tampered_state",
    description: "Refuses a state that is not its own.",
    answer(_args, context) {
      if (stateOf(context) !== null) return said("state-ok");
      return ask({ confirm: elicit("Please confirm", { ok: { type: "boolean" } }) }, "untouched");
    },
  },
  {
    name: "test_input_required_result_multiple_inputs",
    description: "Asks for three things at once.",
    answer(_args, context) {
      const isWhole =
        stateOf(context) === "three" &&
        responseTo(context, "user_name", "elicit") !== null &&
        responseTo(context, "greeting", "sampling") !== null &&
        responseTo(context, "client_roots", "roots") !== null;
      if (isWhole) return said("All three came.");
      const asked = {
        user_name: elicit("What is your name?", nameForm),
        greeting: sample("Generate a greeting", 50),
        client_roots: inputRequired.listRoots(),
      };
      return ask(asked, "three");
    },
  },
  {
    name: "test_input_required_result_multi_round",
    description: "Asks twice, one after the other.",
    answer(_args, context) {
      const state = stateOf(context);
      if (state === "second" && responseTo(context, "step2", "elicit") !== null)
        return said("Both steps are done.");
      const isNext = state === "first" && responseTo(context, "step1", "elicit") !== null;
      if (isNext || state === "second")
        return ask(
          { step2: elicit("Step 2: What is your favorite color?", { color: { type: "string" } }) },
          "second",
        );
      return ask({ step1: elicit("Step 1: What is your name?", nameForm) }, "first");
    },
  },
  {
    name: "test_input_required_result_capabilities",
    description: "Asks only for what the client can do.",
    answer(_args, context) {
      const declared = capabilitiesOf(context);
      const asked: Requests = {};
      if (declared.elicitation !== undefined) asked.user_name = elicit("What is your name?", nameForm);
      if (declared.sampling !== undefined) asked.greeting = sample("Generate a greeting", 50);
      if (declared.roots !== undefined) asked.client_roots = inputRequired.listRoots();
      return Object.keys(asked).length === 0 ? said("The client can do nothing of it.") : ask(asked);
    },
  },
];

/** What only a server with sessions can do: they try, and say so when the client cannot be reached. */
const legacy: Fixture[] = [
  {
    name: "test_sampling",
    description: "Asks the client's model in the middle of the call.",
    properties: { prompt: { type: "string" } },
    required: ["prompt"],
    answer({ prompt }, { mcpReq }) {
      const content = { type: "text" as const, text: String(prompt) };
      const asked = { messages: [{ role: "user" as const, content }], maxTokens: 100 };
      return reached(mcpReq.requestSampling(asked, { timeout: pushTimeoutMs }));
    },
  },
  {
    name: "test_elicitation",
    description: "Asks the user in the middle of the call.",
    properties: { message: { type: "string" } },
    required: ["message"],
    answer: ({ message }, context) =>
      push(context, String(message), {
        username: { type: "string", description: "User's response" },
        email: { type: "string", description: "User's email address" },
      }),
  },
  {
    name: "test_elicitation_sep1034_defaults",
    description: "Asks with values to begin from.",
    answer: (_args, context) =>
      push(context, "Please look at the values", {
        name: { type: "string", default: "John Doe" },
        age: { type: "integer", default: 30 },
        score: { type: "number", default: 95.5 },
        status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
        verified: { type: "boolean", default: true },
      }),
  },
  {
    name: "test_elicitation_sep1330_enums",
    description: "Asks for choices of all kinds.",
    answer: (_args, context) => push(context, "Please choose", choices),
  },
];

const pushTimeoutMs = 500;

function push({ mcpReq }: ServerContext, message: string, properties: Record<string, unknown>) {
  const asked = { message, requestedSchema: { type: "object", properties } };
  const form = asked as Parameters<typeof mcpReq.elicitInput>[0];
  return reached(mcpReq.elicitInput(form, { timeout: pushTimeoutMs }));
}

async function reached(answer: Promise<object>): Promise<Record<string, unknown>> {
  try {
    return said(JSON.stringify(await answer));
  } catch (error) {
    return { ...said(`The client was not reached: ${String(error)}`), isError: true };
  }
}

const options = ["option1", "option2", "option3"];
const titled = [
  { const: "value1", title: "First" },
  { const: "value2", title: "Second" },
  { const: "value3", title: "Third" },
];
const choices = {
  untitledSingle: { type: "string", enum: options },
  titledSingle: { type: "string", oneOf: titled },
  legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["One", "Two", "Three"] },
  untitledMulti: { type: "array", items: { type: "string", enum: options } },
  titledMulti: { type: "array", items: { anyOf: titled } },
};

export const askingTools: ProtocolTool[] = [...modern, ...legacy].map(fixtureTool);
