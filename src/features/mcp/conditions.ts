/**
 * Conditions on a call's arguments, answered in two ways: whether they plainly hold, which is what a rule that allows
 * needs, and whether they plainly do not, which is all that gets a call past a rule that denies.
 *
 * Between the two lies what another program may read differently: a member that is left out, stands twice in two
 * spellings, is a list where a text should be, a number in quotes, a path with `..` in it. That allows nothing, and is
 * denied. Members are found as their own, so `constructor` and `__proto__` are names like others.
 */
import { hasLongMarkRun, nfkc } from "../../platform/nfkc.ts";
import type { Condition } from "./contract.ts";
import { looseOf, numbersIn, placesOf, TextReading } from "./text-reading.ts";

export type CompiledCondition = {
  readonly path: string;
  readonly members: readonly string[];
  readonly holds: Test;
  /** Whether the value may be taken for one that the condition is about. */
  readonly mayHold: Test;
};

type Test = (given: unknown, read: (text: string) => TextReading) => boolean;
type Tests = Pick<CompiledCondition, "holds" | "mayHold">;
type Scalar = string | number | boolean;

export const compileCondition = (condition: Condition): CompiledCondition => ({
  path: condition.path,
  members: condition.path.split("."),
  ...testsOf(condition),
});

function testsOf({ op, value }: Condition): Tests {
  if (op === "eq") return equality([value]);
  if (op === "in") return equality(value);
  if (op === "prefix") return beginning(value);
  return op === "max" ? most(value) : longest(value);
}

/** A call's arguments as conditions look at them: each path is followed, each object and each text looked through once. */
export class Arguments {
  readonly #value: unknown;
  readonly #found = new Map<string, readonly unknown[] | null>();
  readonly #spellings = new Map<object, Spellings | null>();
  readonly #texts = new Map<string, TextReading>();
  readonly #read = (text: string): TextReading => {
    const reading = this.#texts.get(text) ?? new TextReading(text);
    this.#texts.set(text, reading);
    return reading;
  };

  constructor(value: unknown) {
    this.#value = value;
  }

  /** There is a value where the path leads, and every one is such that the condition holds. */
  meets(condition: CompiledCondition): boolean {
    return this.#at(condition)?.every((given) => condition.holds(given, this.#read)) ?? false;
  }

  /** Some value may be one that the condition is about, or it is not clear which there are. */
  mayMeet(condition: CompiledCondition): boolean {
    return this.#at(condition)?.some((given) => condition.mayHold(given, this.#read)) ?? true;
  }

  /** Null when something on the way is missing, of another kind, there in more than one spelling, or too much. */
  #at({ path, members }: CompiledCondition): readonly unknown[] | null {
    const known = this.#found.get(path);
    if (known !== undefined) return known;
    const gathered: unknown[] = [];
    const found = this.#gather(this.#value, members, 0, gathered) ? gathered : null;
    this.#found.set(path, found);
    return found;
  }

  #gather(value: unknown, members: readonly string[], at: number, found: unknown[]): boolean {
    const member = members[at];
    if (member === undefined) return found.push(value) <= lookedAtMax;
    if (member === "*") {
      if (!Array.isArray(value) || value.length === 0 || value.length > lookedAtMax) return false;
      return value.every((element) => this.#gather(element, members, at + 1, found));
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
    if (!Object.hasOwn(value, member)) return false;
    const spellings = this.#spellingsOf(value);
    if (spellings === null || (spellings.folded.get(fold(member)) ?? 0) > 1) return false;
    if (spellings.dotted.size > 0 && spellings.dotted.has(fold(members.slice(at).join("")))) return false;
    return this.#gather((value as Record<string, unknown>)[member], members, at + 1, found);
  }

  #spellingsOf(value: object): Spellings | null {
    const known = this.#spellings.get(value);
    if (known !== undefined) return known;
    const keys = Object.keys(value);
    const isTooMuch = keys.length > lookedAtMax || keys.some(hasLongMarkRun);
    const spellings = isTooMuch ? null : spellingsOf(keys);
    this.#spellings.set(value, spellings);
    return spellings;
  }
}

/** Members of one object, and values of one path: nobody waits while more are looked through. */
const lookedAtMax = 1_000;

/** How often each name stands in an object, and which stand there as a whole path: `target.env` beside `target`. */
type Spellings = { readonly folded: ReadonlyMap<string, number>; readonly dotted: ReadonlySet<string> };

function spellingsOf(keys: readonly string[]): Spellings {
  const folded = new Map<string, number>();
  const dotted = new Set<string>();
  for (const key of keys) {
    const name = fold(key);
    folded.set(name, (folded.get(name) ?? 0) + 1);
    if (/[.[]/.test(key)) dotted.add(name);
  }
  return { folded, dotted };
}

/** Go's decoder takes `ENV` and `ſ` for what they look like, others take `projectId` for `project_id`. */
const fold = (name: string): string => {
  const plain = nfkc(name)
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}*]/gu, "");
  return plain === "" ? name : plain;
};

const isScalar = (given: unknown): given is Scalar =>
  typeof given === "string" || typeof given === "boolean" || Number.isFinite(given);

/** Nothing, or what is read as nothing; a number beyond all numbers, which is sent on as null. */
const isClear = (given: unknown): given is Scalar => isScalar(given) && given !== "";

function equality(values: readonly Scalar[]): Tests {
  const exact = new Set<unknown>(values);
  const texts = new Set(values.map((value) => looseOf(String(value))));
  const numbers = new Set([...texts].flatMap((text) => numbersIn(text)));
  const hasBoolean = values.some((value) => typeof value === "boolean");
  return {
    holds: (given) => exact.has(given),
    mayHold(given, read) {
      if (exact.has(given) || !isClear(given)) return true;
      if (typeof given === "boolean") return texts.has(String(given)) || numbers.has(Number(given));
      // `yes`, 1 and "on" are true to many: only the other of the two is plainly something else.
      if (hasBoolean) return true;
      const reading = read(String(given));
      if (reading.marks.isOverloaded) return true;
      return texts.has(reading.loose) || reading.numbers.some((number) => numbers.has(number));
    },
  };
}

function beginning(value: string): Tests {
  const places = placesOf(value, looseOf(value));
  const longestPlace = Math.max(...places.map(({ length }) => length));
  const href = value.includes("://") ? (URL.parse(value)?.href ?? null) : null;
  const isRoot = /^\/+$/.test(value);
  const [hasSlash, hasBackslash] = [value.includes("/"), value.includes("\\")];
  const isPlain = ({ marks }: TextReading): boolean =>
    !marks.isTwisted && !(marks.hasBackslash && !hasBackslash) && !(marks.hasDoubleSlash && hasSlash);
  // Where a shell reads it, a file may be named by less than its name.
  const isExpanded = ({ places: [place = ""] }: TextReading): boolean => {
    if (!hasSlash || href !== null) return false;
    const start = place.slice(0, longestPlace + 1);
    const at = start.search(/[*?[{$`'"]/);
    return at !== -1 && places.some((wanted) => wanted.startsWith(start.slice(0, at)));
  };
  return {
    holds: (given, read) =>
      typeof given === "string" &&
      given.startsWith(value) &&
      isPlain(read(given)) &&
      (href === null || read(given).href?.startsWith(href) === true),
    mayHold(given, read) {
      if (!isClear(given)) return true;
      const reading = read(String(given));
      // A shell's home, a variable, an escape: it leads where only its reader knows.
      if (!isPlain(reading) || /^[~$%]/.test(reading.text) || isExpanded(reading)) return true;
      // Not only loosely: where it ends, an accent may begin that makes another letter of its last.
      if (reading.text.startsWith(value)) return true;
      if (isRoot) return /^(?:file:)?\//.test(reading.loose);
      return reading.places.some((place) => places.some((wanted) => place.startsWith(wanted)));
    },
  };
}

const most = (value: number): Tests => ({
  holds: (given) => typeof given === "number" && Number.isFinite(given) && given <= value,
  mayHold(given, read) {
    if (!isClear(given) || typeof given === "boolean") return true;
    if (typeof given === "number") return given <= value;
    const { loose, numbers } = read(given);
    return !Number.isFinite(Number(loose)) || numbers.some((number) => number <= value);
  },
});

/** Characters as UTF-16 counts them where a rule allows, which is never less than anyone else's count of characters. */
const longest = (value: number): Tests => ({
  holds: (given) => (typeof given === "string" || Array.isArray(given)) && given.length <= value,
  mayHold: (given, read) =>
    typeof given === "string"
      ? read(given).characters <= value
      : !Array.isArray(given) || given.length <= value,
});
