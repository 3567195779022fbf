/**
 * The house rules that a program can check: the floors of the building and what may stand on each.
 *
 * A broken rule is reported as `file:line: what is wrong`.
 */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

type Source = { path: string; text: string /** The text with its comments blanked out. */; code: string };
type Import = { path: string; line: number; from: string };

const root = join(import.meta.dir, "..");
const sources: Source[] = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((path) => /\.tsx?$/.test(path) && !path.endsWith(".d.ts"))
  .sort()
  .map((path) => {
    const text = readFileSync(join(root, "src", path), "utf8");
    return { path, text, code: withoutComments(text) };
  });
const isTest = (path: string): boolean => path.endsWith(".test.ts") || path.startsWith("testing/");
const product = sources.filter(({ path }) => !isTest(path));

const floors = ["platform", "db", "features", "wiring", "app", "cli", "console", "main"];
const level = (path: string): number => {
  const floor = floors.indexOf((path.split("/")[0] ?? "").replace(/(?:-\w+)?\.tsx?$/, ""));
  // The console stands beside the command line, not above it.
  return floor >= floors.indexOf("console") ? floor - 1 : floor;
};
/** The smallest folder whose files may import each other freely: a feature, or a whole floor. */
const room = (path: string): string => {
  const [floor = "", name = ""] = path.split("/");
  return floor === "features" ? `${floor}/${name}` : floor.replace(/^wiring-\w+/, "wiring");
};

test("imports go down the floors, or stay in their room", () => {
  const broken = product.flatMap(importsOf).filter(({ path, from }) => {
    const target = inSrc(path, from);
    return target !== null && room(target) !== room(path) && level(target) >= level(path);
  });
  expect(broken.map((it) => at(it, `must not import ${it.from}: imports only go down`))).toEqual([]);
});

test("features do not import each other", () => {
  const broken = sources.flatMap(importsOf).filter(({ path, from }) => {
    const target = inSrc(path, from);
    if (!path.startsWith("features/") || isTest(path)) return false;
    return target?.startsWith("features/") && room(target) !== room(path);
  });
  expect(
    broken.map((it) => at(it, `must not import ${it.from}: state the need as a type, wiring hands it in`)),
  ).toEqual([]);
});

test("only tests import from testing, and only the database reaches outside src", () => {
  const broken = product.flatMap(importsOf).filter(({ path, from }) => {
    if (!from.startsWith(".")) return false;
    const target = inSrc(path, from);
    return target === null ? room(path) !== "db" : target.startsWith("testing/");
  });
  expect(broken.map((it) => at(it, `must not import ${it.from}`))).toEqual([]);
});

test("only main reads the process and its environment", () => {
  // To send a signal is not to read anything.
  const rule =
    /(?<![-/.\w])process\.(?!memoryUsage\b)\w+|\bBun\.env\b|\bimport\.meta\.env\b|^import (?!\{ kill \}).*"(?:node:)?process"/m;
  const elsewhere = product.filter(({ path }) => path !== "main.ts");
  expect(found(elsewhere, rule, "take it as a parameter: the process is read in main.ts")).toEqual([]);
});

test("Elysia stands in routes, the guard, the dialects, app and serve", () => {
  const mayImport =
    /^features\/[\w-]+\/routes\.ts$|^platform\/(?:guard|dialects)\.ts$|^app\.ts$|^cli\/serve\.ts$/;
  const broken = product
    .flatMap(importsOf)
    .filter(({ path, from }) => /^elysia(?:\/|$)/.test(from) && !mayImport.test(path));
  expect(broken.map((it) => at(it, `must not import ${it.from}`))).toEqual([]);
});

test("there are no barrels", () => {
  const named = sources.filter(({ path }) => /(?:^|\/)index\.tsx?$/.test(path));
  expect(named.map(({ path }) => `src/${path}: name the file after what it holds`)).toEqual([]);
  const rule = /^export (?:type )?(?:\*|\{[^}]*\} from\b)/m;
  expect(found(sources, rule, "import it from where it stands")).toEqual([]);
});

test("names are product nouns", () => {
  const banned = /^(?:manager|service|helper|util|utils|handler|data|info|common|base|impl)s?$/i;
  const isBanned = (name: string): boolean =>
    // Things of the trade, called so by everyone.
    name
      .replace(/[dD]ata-?[dD]ir|^base(?:-u|U)rl|Base-?Url/, "")
      .split(/[-_.]|(?<=[a-z])(?=[A-Z])/)
      .some((word) => banned.test(word));
  const files = sources.filter(({ path }) =>
    path.split("/").some((part) => isBanned(part.replace(/\..*$/, ""))),
  );
  expect(files.map(({ path }) => `src/${path}: says nothing about what it holds`)).toEqual([]);
  const rule =
    /^export (?:declare )?(?:async )?(?:abstract )?(?:const|let|function|class|type|interface|enum) (\w+)/gm;
  const exported = product.flatMap(({ path, code }) =>
    [...code.matchAll(rule)]
      .filter(([, name = ""]) => isBanned(name))
      .map(({ index, 1: name }) => at({ path, line: lineOf(code, index) }, `\`${name}\` says nothing`)),
  );
  expect(exported).toEqual([]);
});

test("files have at most 400 lines", () => {
  const long = product
    .filter(({ path }) => path !== "db/schema.ts")
    .map(({ path, text }) => ({ path, lines: text.trimEnd().split("\n").length }))
    .filter(({ lines }) => lines > 400);
  expect(long.map(({ path, lines }) => `src/${path}: ${lines} lines want a second room`)).toEqual([]);
});

test("functions have at most 60 lines", () => {
  const broken = product.flatMap(({ path, code }) =>
    functionsOf(code)
      .filter(({ lines }) => lines > 60)
      .map(({ line, lines }) => at({ path, line }, `a function of ${lines} lines`)),
  );
  expect(broken).toEqual([]);
});

test("types are not switched off", () => {
  expect(found(sources, /(?::\s*|\bas\s+|<)any\b/, "say what it is")).toEqual([]);
  const comments = sources.map(({ path, text }) => ({ path, text, code: text }));
  expect(found(comments, /@ts-(?:ignore|nocheck|expect-error)/, "mend the type")).toEqual([]);
});

test("nothing is left for later", () => {
  const whole = sources.map(({ path, text }) => ({ path, text, code: text }));
  expect(found(whole, /\b(?:TO{1}DO|FIX{1}ME|X{3}|HA{1}CK)\b/, "do it, or open an issue")).toEqual([]);
  expect(found(sources, /\b(?:test|describe|it)\.(?:skip|todo|only)\b/, "a test runs")).toEqual([]);
});

test("a table is written to in one room only", () => {
  const schema = readFileSync(join(root, "src/db/schema.ts"), "utf8");
  const tables = [...schema.matchAll(/export const (\w+) = pgTable\(\s*"(\w+)"/g)];
  for (const [, name = "", inSql = ""] of tables) {
    const rule = new RegExp(
      `\\.(?:insert|update|delete)\\(\\s*(?:schema\\.)?${name}\\s*\\)|` +
        `(?:insert into|delete from|merge into|(?<!for )update)\\s+(?:only\\s+)?(?:"${inSql}"|${inSql}|\\$\\{(?:schema\\.)?${name}\\})(?![\\w.])`,
      "i",
    );
    const writers = product.filter(({ code }) => rule.test(code)).map(({ path }) => room(path));
    expect({ table: inSql, rooms: [...new Set(writers)].slice(1) }).toEqual({ table: inSql, rooms: [] });
  }
});

test("the top level is as agreed", () => {
  const top =
    /^(?:src|drizzle|scripts|bunfig\.toml|package\.json|tsconfig\.json|Dockerfile|README\.md|LICENSE|CHANGELOG\.md|bun\.lock|node_modules|dist|specgate-data|\..*|.*\.log)$/;
  expect(readdirSync(root).filter((name) => !top.test(name))).toEqual([]);
  const inside =
    /^(?:main\.ts|wiring(?:-\w+)?\.ts|app\.ts|ARCHITECTURE\.md|\w+\.test\.ts|platform|db|features|cli|console|testing)$/;
  expect(readdirSync(join(root, "src")).filter((name) => !inside.test(name))).toEqual([]);
});

test("every relative import names its file", () => {
  const broken = sources
    .flatMap(importsOf)
    .filter(({ path, from }) => from.startsWith(".") && !isThere(join(root, "src", dirname(path), from)));
  expect(broken.map((it) => at(it, `${it.from} is not a file`))).toEqual([]);
});

const at = ({ path, line }: { path: string; line: number }, rule: string): string =>
  `src/${path}:${line}: ${rule}`;

/** Packed and built files may not be there yet. */
const isThere = (path: string): boolean => existsSync(path) || path.startsWith(join(root, "dist"));

function found(among: Source[], rule: RegExp, advice: string): string[] {
  return among.flatMap(({ path, code }) =>
    [...code.matchAll(new RegExp(rule.source, `${rule.flags.replace("g", "")}g`))].map((match) =>
      at({ path, line: lineOf(code, match.index) }, `\`${match[0]}\`: ${advice}`),
    ),
  );
}

function importsOf({ path, code }: Source): Import[] {
  const rule = /^(?:import|export)\b[^;"]*?from\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\(\s*"([^"]+)"/gm;
  return [...code.matchAll(rule)].map((match) => ({
    path,
    line: lineOf(code, match.index),
    from: match[1] ?? match[2] ?? match[3] ?? "",
  }));
}

/** The imported file's path below src, or null when it is a package or lies outside. */
function inSrc(path: string, from: string): string | null {
  if (!from.startsWith(".")) return null;
  const target = normalize(join(dirname(path), from));
  return target.startsWith("..") ? null : target;
}

/** Relies on the formatter: a function ends at the first brace that stands as deep as the line that opened it. */
function functionsOf(code: string): { line: number; lines: number }[] {
  const lines = code.split("\n");
  const opens =
    /^(\s*)(?:export |default |async |static |override |private |get |set |const |return |#)*.*(?:\)|=>)(?:: .*)? \{$/;
  return lines.flatMap((text, index) => {
    const opened = opens.exec(text);
    if (opened === null || /^\s*(?:if|for|while|switch|\} else|\} catch|do|try)\b/.test(text)) return [];
    const end = lines.findIndex((other, after) => after > index && other.startsWith(`${opened[1]}}`));
    return end < 0 ? [] : [{ line: index + 1, lines: end - index + 1 }];
  });
}

const lineOf = (code: string, index: number): number => code.slice(0, index).split("\n").length;

function withoutComments(text: string): string {
  return text
    .replace(/(^|[\s(,{])\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " "))
    .replace(/(^|\s)\/\/.*$/gm, "$1");
}
