/** The columns of every roll-up, as the tables name them: what it is kept by besides time, and what is summed. */
export const dimensions = [
  "provider",
  "model",
  "project_id",
  "session_id",
  "iteration_id",
  "task_id",
  "user_id",
  "client_id",
  "key_id",
] as const;

export const amounts = [
  "requests",
  "errors",
  "input",
  "output",
  "cached_read",
  "cache_write",
  "reasoning",
  "audio",
  "cost_nano",
  "charged_nano",
  "unknown_nano",
  "latency",
  "first_token",
] as const;
