/**
 * Latencies as counts per logarithmic bucket: roll-ups add up, and a percentile read from them is within 5 %, or 1 ms.
 *
 * Bucket 0 holds up to 1 ms, bucket i what lies in (1.1^(i-1), 1.1^i] ms, the last one everything beyond. The counts stand
 * side by side in one long number, twelve digits for each bucket, the first one lowest: so the database adds histograms
 * up as it adds numbers. Its function `latency_count` counts by the same rule; whoever changes the ratio changes history.
 */
export const bucketRatio = 1.1;
export const lastBucket = 255;
const digits = 12;

/** Milliseconds that stand for everything in a bucket. */
export function bucketMs(bucket: number): number {
  if (bucket === 0) return 1;
  return Math.round((bucketRatio ** (bucket - 1) + bucketRatio ** bucket) / 2);
}

/** The counts by bucket, of a number as text. */
export function countsOf(histogram: string): number[] {
  const counts: number[] = [];
  for (let end = histogram.length; end > 0; end -= digits)
    counts.push(Number(histogram.slice(Math.max(0, end - digits), end)));
  return counts;
}

/** `times` −1 takes away. */
export function addCounts(to: number[], counts: readonly number[], times = 1): void {
  for (const [bucket, count] of counts.entries()) to[bucket] = (to[bucket] ?? 0) + times * count;
}

/** The nearest-rank percentile in milliseconds; null when nothing was counted. */
export function percentile(counts: readonly number[], share: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let seen = 0;
  for (const [bucket, count] of counts.entries()) {
    seen += count;
    if (count > 0 && seen >= total * share) return bucketMs(bucket);
  }
  return null;
}
