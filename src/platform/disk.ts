/** What kind of disk a directory lies on, as far as it matters to what must outlive the process. */
import { statfsSync } from "node:fs";

/** What `statfs` calls file systems that do not outlive the machine or the container (linux/magic.h). */
const fleeting = new Map([
  [0x01021994, "tmpfs, which a reboot empties"],
  [0x858458f6, "ramfs, which a reboot empties"],
  [0x794c7630, "a container's own layer, which goes with the container"],
]);

/** Why what is written under `path` may not be there tomorrow, or null. */
export function fleetingDisk(path: string): string | null {
  return fleeting.get(statfsSync(path).type) ?? null;
}
