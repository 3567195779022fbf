/**
 * Money is an integer of nano-USD inside and a decimal string in USD outside. No float ever holds an amount.
 */
export type NanoUsd = number;

/** `125000` → `"0.000125"`: at least two decimals, no trailing zeros beyond them. */
export function formatUsd(nano: NanoUsd | bigint): string {
  const value = BigInt(nano);
  const sign = value < 0n ? "-" : "";
  const digits = (value < 0n ? -value : value).toString().padStart(10, "0");
  const whole = digits.slice(0, -9);
  const fraction = digits.slice(-9).replace(/0+$/, "").padEnd(2, "0");
  return `${sign}${whole}.${fraction}`;
}

/** `"0.000125"` → `125000`; null for what is no amount from 0 to 9,007,199 USD with at most nine decimals. */
export function parseUsd(text: string): NanoUsd | null {
  const found = /^(\d{1,7})(?:\.(\d{1,9}))?$/.exec(text);
  if (found === null) return null;
  const nano = Number(`${found[1]}${(found[2] ?? "").padEnd(9, "0")}`);
  return Number.isSafeInteger(nano) ? nano : null;
}
