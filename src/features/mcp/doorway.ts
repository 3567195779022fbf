/**
 * The door as long as nobody has come to it: the protocol's library takes eight megabytes, and a gateway that nobody
 * speaks MCP to has them for something else. What is offered is known without it.
 */
import type { OpenedBy } from "../../platform/guard.ts";
import { Catalogue, type Offered } from "./catalogue.ts";
import type { Mcp, McpNeeds } from "./mcp.ts";

export type DoorwayNeeds = Omit<McpNeeds, "catalogue"> & {
  tools: ConstructorParameters<typeof Catalogue>[0];
  protocolTools: ConstructorParameters<typeof Catalogue>[1];
};

export class Doorway {
  readonly #needs: McpNeeds;
  #mcp: Mcp | null = null;
  #opening: Promise<Mcp> | null = null;
  #isClosing = false;

  constructor(needs: DoorwayNeeds) {
    this.#needs = { ...needs, catalogue: new Catalogue(needs.tools, needs.protocolTools, needs.upstreams) };
  }

  answer(opened: OpenedBy): Promise<Response> {
    // Known at once for all but the first: an await of what is there still costs a turn.
    return this.#mcp?.answer(opened) ?? this.#open().then((mcp) => mcp.answer(opened));
  }

  refuseMethod(opened: OpenedBy): Promise<Response> {
    return this.#open().then((mcp) => mcp.refuseMethod(opened));
  }

  /** Everything that could be offered to anybody right now. */
  offered(): readonly Offered[] {
    return this.#needs.catalogue.all();
  }

  /** As `Mcp.drain`. */
  async drain(milliseconds: number): Promise<void> {
    this.#isClosing = true;
    await (await this.#opening)?.drain(milliseconds);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await (await this.#opening)?.close();
  }

  #open(): Promise<Mcp> {
    this.#opening ??= import("./mcp.ts").then(async ({ Mcp }) => {
      const mcp = new Mcp(this.#needs);
      if (this.#isClosing) await mcp.drain(0);
      this.#mcp = mcp;
      return mcp;
    });
    return this.#opening;
  }
}
