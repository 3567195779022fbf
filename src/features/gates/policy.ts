/** What "done" means in a project: which gates stand in the way of it, and what each asks for. */
export type Policy = {
  tasks: { required: boolean; minimum: number };
  tests: { required: boolean };
  coverage: { required: boolean; percent_min: number };
  security: { required: boolean };
  custom: { name: string; required: boolean }[];
};

/** Every project has these; custom gates bear other names. */
export const builtInGates = ["tasks", "tests", "coverage", "security"] as const;

/** Of a project that has not set its own. */
export const usualPolicy: Policy = {
  tasks: { required: true, minimum: 1 },
  tests: { required: true },
  coverage: { required: true, percent_min: 80 },
  security: { required: true },
  custom: [],
};

/** All gates of a project, in the order in which they are shown. */
export const gatesOf = (policy: Policy): { name: string; required: boolean }[] => [
  ...builtInGates.map((name) => ({ name, required: policy[name].required })),
  ...policy.custom,
];
