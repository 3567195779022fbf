/**
 * What each scenario of the suite comes to here, checks counted: one that checks less than it did, or warns where it did
 * not, is as much news as one that fails.
 */
import type { Revision } from "./suite.ts";

type Reservations = {
  /** Required, and failed. */
  readonly failed: readonly string[];
  /** Required; nothing failed, and a warning says that what it asks for is not there. */
  readonly warned: readonly string[];
  /** Required and passed, by answers of the fixture alone: the product has none. */
  readonly fixtureAlone: readonly string[];
};

/** What is required and is not the gateway's own doing: all of it would take sessions, and there are none here. */
export const reservations: Record<Revision, Reservations> = {
  "2026-07-28": { failed: [], warned: [], fixtureAlone: [] },
  "2025-11-25": {
    // A way back to the client in the middle of a call.
    failed: [
      "elicitation-sep1034-defaults",
      "elicitation-sep1330-enums",
      "tools-call-elicitation",
      "tools-call-sampling",
    ],
    // Streams that belong together by the session's id.
    warned: ["server-sse-multiple-streams"],
    // Subscriptions that outlast their request; 2026-07-28 has streams for that, which the gateway has, too.
    fixtureAlone: ["resources-subscribe", "resources-unsubscribe"],
  },
};

export const expected: Record<Revision, Record<string, string>> = {
  "2026-07-28": {
    caching: "8 ok",
    "completion-complete": "2 ok",
    "dns-rebinding-protection": "2 ok",
    "http-custom-header-server-validation": "10 ok",
    "http-header-validation": "14 ok",
    "input-required-result-basic-elicitation": "3 ok",
    "input-required-result-basic-list-roots": "3 ok",
    "input-required-result-basic-sampling": "3 ok",
    "input-required-result-capability-check": "2 ok",
    "input-required-result-ignore-extra-params": "2 ok",
    "input-required-result-missing-input-response": "2 ok",
    "input-required-result-multi-round": "4 ok",
    "input-required-result-multiple-input-requests": "3 ok",
    "input-required-result-non-tool-request": "3 ok",
    "input-required-result-request-state": "3 ok",
    "input-required-result-result-type": "2 ok",
    "input-required-result-tampered-state": "2 ok",
    "input-required-result-unsupported-methods": "2 ok",
    "input-required-result-validate-input": "3 ok",
    "json-schema-2020-12": "8 ok",
    "prompts-get-embedded-resource": "2 ok",
    "prompts-get-simple": "2 ok",
    "prompts-get-with-args": "2 ok",
    "prompts-get-with-image": "2 ok",
    "prompts-list": "2 ok",
    "resources-list": "2 ok",
    "resources-read-binary": "2 ok",
    "resources-read-text": "2 ok",
    "resources-templates-read": "2 ok",
    "sep-2164-resource-not-found": "4 ok",
    "server-sse-multiple-streams": "1 ok, 1 info",
    "server-stateless": "29 ok, 1 skipped",
    "tools-call-audio": "2 ok",
    "tools-call-embedded-resource": "2 ok",
    "tools-call-error": "2 ok",
    "tools-call-image": "2 ok",
    "tools-call-mixed-content": "2 ok",
    "tools-call-simple-text": "2 ok",
    "tools-call-with-progress": "2 ok",
    "tools-list": "4 ok",
  },
  "2025-11-25": {
    "completion-complete": "2 ok",
    "dns-rebinding-protection": "2 ok",
    "elicitation-sep1034-defaults": "1 ok, 1 failure",
    "elicitation-sep1330-enums": "1 ok, 1 failure",
    "json-schema-2020-12": "8 ok",
    "logging-set-level": "2 ok",
    ping: "2 ok",
    "prompts-get-embedded-resource": "2 ok",
    "prompts-get-simple": "2 ok",
    "prompts-get-with-args": "2 ok",
    "prompts-get-with-image": "2 ok",
    "prompts-list": "2 ok",
    "resources-list": "2 ok",
    "resources-read-binary": "2 ok",
    "resources-read-text": "2 ok",
    "resources-subscribe": "2 ok",
    "resources-templates-read": "2 ok",
    "resources-unsubscribe": "2 ok",
    "server-initialize": "2 ok, 1 info",
    "server-session-lifecycle": "0 ok, 1 info",
    "server-sse-multiple-streams": "0 ok, 1 warning",
    "server-sse-polling": "0 ok, 1 warning, 3 info",
    "tools-call-audio": "2 ok",
    "tools-call-elicitation": "1 ok, 1 failure",
    "tools-call-embedded-resource": "2 ok",
    "tools-call-error": "2 ok",
    "tools-call-image": "2 ok",
    "tools-call-mixed-content": "2 ok",
    "tools-call-sampling": "1 ok, 1 failure",
    "tools-call-simple-text": "2 ok",
    "tools-call-with-logging": "2 ok",
    "tools-call-with-progress": "2 ok",
    "tools-list": "3 ok",
  },
};
