/** The browser of the desktop that the person sits at, if there is one. */

/** True when the desktop took the address; whether a window came up nobody can know. */
export function openDesktopBrowser(
  url: string,
  platform: string,
  env: Record<string, string | undefined>,
): boolean {
  const command = openerOf(platform, env);
  if (command === null) return false;
  try {
    // A process group of its own: Ctrl+C in the terminal must not close the browser.
    const options = { stdin: "ignore", stdout: "ignore", stderr: "ignore", detached: true } as const;
    Bun.spawn([...command, url], options).unref();
    return true;
  } catch {
    // The desktop lacks the program.
    return false;
  }
}

function openerOf(platform: string, env: Record<string, string | undefined>): string[] | null {
  if (platform === "darwin") return ["open"];
  // Not `start`, which is the shell's and would take each `&` of the address for the end of a command.
  if (platform === "win32") return ["rundll32", "url.dll,FileProtocolHandler"];
  return env.DISPLAY || env.WAYLAND_DISPLAY ? ["xdg-open"] : null;
}
