/** Who this process is on its machine: read once in main.ts and handed down. */
export type Host = {
  readonly pid: number;
  /** The user the process runs as; 0 is root. */
  readonly uid: number;
  /** `linux`, `darwin` … and `x64`, `arm64` …, as Node spells them. */
  readonly platform: string;
  readonly arch: string;
};
