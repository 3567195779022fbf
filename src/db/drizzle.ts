/**
 * drizzle over a guarded postgres.js client.
 *
 * drizzle wraps each error in one whose message repeats the statement and its parameters, secrets included. Here the
 * database's own error comes out, with its `code`; but text with NUL in it, which Postgres cannot even compare, is the
 * caller's mistake.
 */
import {
  createTableRelationsHelpers,
  DrizzleQueryError,
  type ExtractTablesWithRelations,
  extractTablesRelationalConfig,
} from "drizzle-orm";
import { PgDialect } from "drizzle-orm/pg-core";
import { PostgresJsDatabase, PostgresJsSession } from "drizzle-orm/postgres-js";
import type postgres from "postgres";
import { Failure } from "../platform/failure.ts";
import type { Db, Schema, Sql } from "./database.ts";
import * as schema from "./schema.ts";
import { codeOf } from "./unavailable.ts";

type Tables = ExtractTablesWithRelations<Schema>;

const { tables, tableNamesMap } = extractTablesRelationalConfig<Tables>(schema, createTableRelationsHelpers);
const model = { fullSchema: schema, schema: tables, tableNamesMap };
const dialect = new PgDialect();

/** Longer statements are one-off lists of values: keeping them prepared would fill the server's memory. */
const preparedCharactersMax = 2_000;

export function drizzleOver(sql: Sql, prepare: boolean): Db {
  return new PostgresJsDatabase<Schema>(dialect, new Session(clientOf(sql, prepare)), model) as Db;
}

type PrepareQuery = PostgresJsSession<Sql, Schema, Tables>["prepareQuery"];

class Session extends PostgresJsSession<Sql, Schema, Tables> {
  constructor(client: Sql) {
    super(client, dialect, model);
  }

  override prepareQuery: PrepareQuery = (...parts) => {
    const prepared = super.prepareQuery(...parts);
    const execute = prepared.execute.bind(prepared);
    prepared.execute = (values) => execute(values).catch(rethrowPlain);
    return prepared;
  };
}

function rethrowPlain(error: unknown): never {
  const plain = error instanceof DrizzleQueryError && error.cause !== undefined ? error.cause : error;
  throw nulls.has(codeOf(plain) ?? "") ? holdsNul(plain) : plain;
}

/** As `character_not_in_repertoire`, and within JSON as `untranslatable_character`. */
const nulls = new Set(["22021", "22P05"]);

const holdsNul = (cause: unknown): Failure =>
  new Failure("invalid", "invalid_request", "Text here never holds the character NUL.", { cause });

/** drizzle asks for `unsafe` alone. Its statements are prepared by text, which saves one of two round trips. */
function clientOf(sql: Sql, prepare: boolean): Sql {
  const unsafe = (text: string, values: postgres.ParameterOrJSON<never>[]) =>
    sql.unsafe(text, values, { prepare: prepare && text.length <= preparedCharactersMax });
  return { unsafe, options: { parsers: {}, serializers: {} } } as unknown as Sql;
}
