/**
 * Latencies as counts per logarithmic bucket: roll-ups add up, and a percentile read from them is within 5 %, or 1 ms.
 *
 * Bucket 0 holds up to 1 ms, bucket i what lies in (1.1^(i-1), 1.1^i] ms, the last one everything beyond. merge.sql
 * counts by the same rule; whoever changes the ratio changes history.
 */
export const bucketRatio = 1.1;
export const lastBucket = 255;

/** Milliseconds that stand for everything in a bucket. */
export function bucketMs(bucket: number): number {
  if (bucket === 0) return 1;
  return Math.round((bucketRatio ** (bucket - 1) + bucketRatio ** bucket) / 2);
}

/** The nearest-rank percentile of `counts`, keyed by bucket, in milliseconds; null when nothing was counted. */
export function percentile(counts: ReadonlyMap<number, number>, share: number): number | null {
  const buckets = [...counts].filter(([, count]) => count > 0).sort(([a], [b]) => a - b);
  const total = buckets.reduce((sum, [, count]) => sum + count, 0);
  let seen = 0;
  for (const [bucket, count] of buckets) {
    seen += count;
    if (seen >= total * share) return bucketMs(bucket);
  }
  return null;
}
