/**
 * What a file is, by the ending of its name. Only types that every gateway keeps unless it is told otherwise: a rarer one
 * would be refused, and bytes of no stated type are downloaded just the same.
 */
import { extname } from "node:path";

const types: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".csv": "text/csv; charset=utf-8",
  ".diff": "text/x-diff; charset=utf-8",
  ".gz": "application/gzip",
  ".htm": "text/html; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".jpeg": "image/jpeg",
  ".jpg": "image/jpeg",
  ".json": "application/json",
  ".log": "text/plain; charset=utf-8",
  ".markdown": "text/markdown; charset=utf-8",
  ".md": "text/markdown; charset=utf-8",
  ".mp4": "video/mp4",
  ".patch": "text/x-diff; charset=utf-8",
  ".pdf": "application/pdf",
  ".png": "image/png",
  ".tgz": "application/gzip",
  ".txt": "text/plain; charset=utf-8",
  ".webp": "image/webp",
  ".xml": "text/xml",
  ".yaml": "text/yaml; charset=utf-8",
  ".yml": "text/yaml; charset=utf-8",
  ".zip": "application/zip",
};

export const typeOfName = (name: string): string =>
  types[extname(name).toLowerCase()] ?? "application/octet-stream";
