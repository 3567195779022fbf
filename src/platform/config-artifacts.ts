/**
 * What specgate.yaml says of artifacts and of how long things are kept. Both change while the gateway runs, for new
 * uploads and the next purge. `null` is written out where it means "no end": a limit never vanishes by being left out.
 */
import { type ArtifactsConfig, defaultArtifacts, defaultRetention, type RetentionConfig } from "./config.ts";
import type { Entry, Page } from "./config-yaml.ts";

/** One PUT at S3 carries 5 GiB at most, and its signature lives for 7 days at most; an upload is given half a day. */
const bounds = { sizeBytes: 5_368_709_120, putTtlSeconds: 43_200, getTtlSeconds: 604_800 } as const;
const daysMax = 36_500;
const quotaBytesMax = Number.MAX_SAFE_INTEGER;

export function readArtifacts(page: Page, entry: Entry): ArtifactsConfig {
  const standard = structuredClone(defaultArtifacts);
  if (page.isNull(entry)) return standard;
  const field = page.fields(entry, [
    "size_bytes_max",
    "put_ttl_seconds",
    "get_ttl_seconds",
    "retention_days",
    "content_types",
    "quota_bytes",
  ]);
  const whole = (at: Entry | undefined, max: number, otherwise: number) =>
    at === undefined ? otherwise : (page.integer(at, 1, max) ?? otherwise);
  return {
    sizeBytesMax: whole(field.size_bytes_max, bounds.sizeBytes, standard.sizeBytesMax),
    putTtlSeconds: whole(field.put_ttl_seconds, bounds.putTtlSeconds, standard.putTtlSeconds),
    getTtlSeconds: whole(field.get_ttl_seconds, bounds.getTtlSeconds, standard.getTtlSeconds),
    retentionDays: orNone(page, field.retention_days, daysMax, standard.retentionDays),
    contentTypes: field.content_types ? readTypes(page, field.content_types) : standard.contentTypes,
    quotaBytes: orNone(page, field.quota_bytes, quotaBytesMax, standard.quotaBytes),
  };
}

export function readRetention(page: Page, entry: Entry): RetentionConfig {
  const standard = structuredClone(defaultRetention);
  if (page.isNull(entry)) return standard;
  const field = page.fields(entry, ["requests_days", "audit_days", "events_hours"]);
  if (field.audit_days !== undefined && !page.isNull(field.audit_days))
    page.wrong(
      field.audit_days,
      "an end of the audit log is not in this version; would be null: kept for ever",
    );
  const hours = field.events_hours === undefined ? null : page.integer(field.events_hours, 1, 720);
  return {
    requestsDays: orNone(page, field.requests_days, daysMax, standard.requestsDays),
    auditDays: null,
    eventsHours: hours ?? standard.eventsHours,
  };
}

/** 1 or more; or null, which is none. */
function orNone(page: Page, entry: Entry | undefined, max: number, otherwise: number | null): number | null {
  if (entry === undefined) return otherwise;
  return page.isNull(entry) ? null : (page.integer(entry, 1, max, "null") ?? otherwise);
}

/** RFC 6838 section 4.2, and the two forms with a star. */
const typeForm = /^(\*\/\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/(\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,126}))$/;

function readTypes(page: Page, entry: Entry): string[] {
  const types: string[] = [];
  for (const item of page.items(entry)) {
    const type = page.text(item)?.toLowerCase();
    if (type === undefined) continue;
    if (typeForm.test(type)) types.push(type);
    else page.wrong(item, 'not a content type; would be such as "application/pdf", "image/*" or "*/*"');
  }
  return [...new Set(types)];
}
