/**
 * Downloads under way from the local store: each answer is sent from a file that is open, so that a removal in between
 * takes nothing from it, and each file is closed when its answer has ended.
 *
 * Bun sends a file by itself and tells nobody when it has left, nor closes what it did not open. But of an answer that
 * has ended it does not know the other end any more: so all that are open are asked, by one timer, while there are any.
 */
import type { Call } from "../../platform/call.ts";
import { downloadResponse, type OpenBlob } from "./blob-download.ts";
import { closing } from "./blob-files.ts";
import type { DownloadClaim } from "./blob-url.ts";

export type Sending = {
  /** Closes the file, at the end of the answer or at once. Throws 416 `range_not_satisfiable`. */
  send(call: Call, file: OpenBlob, claim: DownloadClaim): Promise<Response>;
  /** Begins no more, and waits for those under way, for so long. */
  drain(waitMs: number): Promise<void>;
};

const askEveryMs = 100;
const stayOpenSeconds = 60;
const slowestBytesPerSecond = 4 * 1024;
const openSecondsMax = 3600;

type Answer = { readonly call: Call; readonly file: OpenBlob; readonly waitUntil: number };

export function createSending(): Sending {
  const open = new Set<Answer>();
  let timer: Timer | null = null;
  let isClosing = false;

  function follow(call: Call, file: OpenBlob, sizeBytes: number): void {
    const seconds = Math.min(openSecondsMax, stayOpenSeconds + sizeBytes / slowestBytesPerSecond);
    open.add({ call, file, waitUntil: performance.now() + seconds * 1000 });
    timer ??= setInterval(ask, askEveryMs);
  }

  function ask(): void {
    for (const answer of open) {
      if (answer.call.peer !== null) stayOpen(answer);
      else {
        open.delete(answer);
        close(answer.file);
      }
    }
    if (open.size > 0 || timer === null) return;
    clearInterval(timer);
    timer = null;
  }

  return {
    async send(call, file, claim) {
      try {
        if (isClosing) throw closing();
        const response = downloadResponse(call.request.headers, file, claim);
        // To look at the body itself would make a stream of the file.
        if (response.status === 304) close(file);
        else follow(call, file, Number(response.headers.get("content-length")));
        return response;
      } catch (error) {
        close(file);
        throw error;
      }
    },
    async drain(waitMs) {
      isClosing = true;
      const deadline = performance.now() + waitMs;
      while (open.size > 0 && performance.now() < deadline) await Bun.sleep(10);
    },
  };
}

/**
 * Lets a slow reader rest. Bun goes back to the server's idle timeout with every piece that leaves, and between two
 * pieces a slow reader may work through megabytes of the socket's: so it is told again and again, for as long as the
 * whole would take at the slowest.
 */
function stayOpen({ call, waitUntil }: Answer): void {
  if (performance.now() < waitUntil) call.stayOpen(stayOpenSeconds);
}

/** Nothing was written, so nothing is lost when this fails. */
function close({ handle }: OpenBlob): void {
  handle.close().catch(() => undefined);
}
