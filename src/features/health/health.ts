/**
 * Whether the gateway is alive, whether it is ready, and what it counts.
 *
 * Ready means: it would accept work now. What only needs an operator's eye is a warning and changes nothing. Answers
 * hold reasons in words and never a secret, an address of something behind the gateway, or a tenant's name.
 */

/** One thing that must work: resolves when it does, rejects with the reason when it does not. */
export type Check = { readonly name: string; readonly check: () => Promise<void> };

export type Readiness = {
  ready: boolean;
  /** Why it is not ready. */
  reasons: string[];
  /** What an operator should know all the same. */
  warnings: string[];
  checks: Record<string, "ok" | "failed">;
  /** How many provider connections the process may have at once. */
  fetches_max: number;
};

/** A number that Prometheus reads, in its text format's words. */
export type Metric = {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  readonly read: () => number;
};

export class Health {
  #draining = false;

  constructor(
    private readonly needs: {
      checks: readonly Check[];
      warnings: () => string[];
      metrics: readonly Metric[];
      version: string;
      fetchesMax: number;
    },
  ) {}

  /** From now on not ready, so that a load balancer sends no more; what is open goes on. */
  drain(): void {
    this.#draining = true;
  }

  alive(): { status: "ok"; version: string } {
    return { status: "ok", version: this.needs.version };
  }

  async readiness(): Promise<Readiness> {
    const results = await Promise.all(this.needs.checks.map(outcomeOf));
    const reasons = results.flatMap(({ name, reason }) => (reason === null ? [] : [`${name}: ${reason}`]));
    if (this.#draining) reasons.push("the gateway is shutting down");
    return {
      ready: reasons.length === 0,
      reasons,
      warnings: this.needs.warnings(),
      checks: Object.fromEntries(
        results.map(({ name, reason }) => [name, reason === null ? "ok" : "failed"]),
      ),
      fetches_max: this.needs.fetchesMax,
    };
  }

  /** Prometheus text exposition format 0.0.4. */
  metrics(): string {
    return this.needs.metrics
      .map(
        ({ name, help, type, read }) => `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${read()}\n`,
      )
      .join("");
  }
}

async function outcomeOf({ name, check }: Check): Promise<{ name: string; reason: string | null }> {
  try {
    await check();
    return { name, reason: null };
  } catch (error) {
    return { name, reason: error instanceof Error ? error.message : "does not answer" };
  }
}
