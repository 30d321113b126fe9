// What stands between a project's transform.js and the contract.

import { nowMicros, seed, variable } from "galley:transform/request@0.1.0";
import { log } from "galley:transform/log@0.1.0";

const KINDS = {
  bool: "boolean",
  int32: "int32",
  int64: "int64",
  bigint: "int64",
  float32: "float32",
  float64: "float64",
  string: "utf8",
  json: "utf8",
  bytes: "binary",
  timestamp: "timestamp-micros",
};

const ARRAYS = {
  bool: Uint8Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bigint: BigInt64Array,
  float32: Float32Array,
  float64: Float64Array,
  timestamp: BigInt64Array,
};

class Fault extends Error {}

/** `list:float64?` -> { list: true, element: "float64", nullable: true }. */
function parse(where, text) {
  const match = /^(list:)?([a-z0-9]+)(\?)?$/.exec(text);
  if (!match || !(match[2] in KINDS)) {
    throw new Fault(`${where}: ${JSON.stringify(text)} is not a type; there are ${Object.keys(KINDS).join(", ")}, list:.. of them, and .. ? for nulls`);
  }
  return { list: Boolean(match[1]), element: match[2], nullable: Boolean(match[3]), text };
}

function dataType(type) {
  return { tag: type.list ? "array" : "scalar", val: KINDS[type.element] };
}

const isPresent = (validity, row) =>
  validity === undefined || ((validity[row >> 3] >> (row & 7)) & 1) === 1;

// --- reading ---

function toNumber(name) {
  return (value) => {
    const number = Number(value);
    if (!Number.isSafeInteger(number)) {
      throw new Fault(`input ${name} holds ${value}, which a JavaScript number cannot: declare it bigint`);
    }
    return number;
  };
}

function itemsOf(name, element, values) {
  const items = values.val;
  switch (element) {
    case "string":
    case "json":
    case "bytes": {
      const { offsets, data } = items;
      const texts = new TextDecoder();
      const list = new Array(Math.max(offsets.length - 1, 0));
      for (let index = 0; index < list.length; index += 1) {
        const part = data.slice(offsets[index], offsets[index + 1]);
        list[index] = element === "bytes" ? part : texts.decode(part);
        if (element === "json") list[index] = list[index] === "" ? null : JSON.parse(list[index]);
      }
      return list;
    }
    case "bool":
      return Array.from(items, (value) => value !== 0);
    case "int64":
    case "timestamp":
      return Array.from(items, toNumber(name));
    default:
      return items;
  }
}

function read(name, type, column) {
  const { values, validity } = column;
  if (type.list) {
    const { offsets, items } = values.val;
    const all = itemsOf(name, type.element, items);
    const lists = new Array(Math.max(offsets.length - 1, 0));
    for (let row = 0; row < lists.length; row += 1) {
      lists[row] = isPresent(validity, row) ? all.slice(offsets[row], offsets[row + 1]) : null;
    }
    return lists;
  }
  const items = itemsOf(name, type.element, values.val);
  if (validity === undefined) return items;
  return Array.from(items, (item, row) => (isPresent(validity, row) ? item : null));
}

// --- writing ---

function convert(name, type, value, row) {
  const bad = () => {
    throw new Fault(`output ${name} is declared ${type.text}, row ${row} holds ${String(value).slice(0, 80)} (${typeof value})`);
  };
  switch (type.element) {
    case "bool":
      return typeof value === "boolean" ? Number(value) : bad();
    case "int32":
      return typeof value === "number" && Math.trunc(value) === (value | 0) ? Math.trunc(value) : bad();
    case "int64":
    case "timestamp":
    case "bigint":
      if (typeof value === "bigint") return BigInt.asIntN(64, value) === value ? value : bad();
      return typeof value === "number" && Number.isFinite(value) ? BigInt(Math.trunc(value)) : bad();
    case "float32":
    case "float64":
      return typeof value === "number" ? value : bad();
    case "string":
      return typeof value === "string" ? new TextEncoder().encode(value) : bad();
    case "json":
      return new TextEncoder().encode(JSON.stringify(value));
    default:
      return value instanceof Uint8Array ? value : bad();
  }
}

function pack(type, items) {
  const tag = KINDS[type.element];
  const Plain = ARRAYS[type.element];
  if (Plain !== undefined) return { tag, val: Plain.from(items) };
  const offsets = new Uint32Array(items.length + 1);
  items.forEach((item, index) => (offsets[index + 1] = offsets[index] + item.length));
  const data = new Uint8Array(offsets[items.length]);
  items.forEach((item, index) => data.set(item, offsets[index]));
  return { tag, val: { offsets, data } };
}

function zero(type) {
  if (ARRAYS[type.element] === BigInt64Array) return 0n;
  return type.element in ARRAYS ? 0 : new Uint8Array(0);
}

function write(name, type, values, rows) {
  if (values === undefined) throw new Fault(`the function did not return ${name}`);
  if (values === null || values.length !== rows) {
    throw new Fault(`output ${name} has ${values === null ? "no" : values.length} values for ${rows} rows`);
  }
  let validity;
  const offsets = new Uint32Array(rows + 1);
  const items = [];
  for (let row = 0; row < rows; row += 1) {
    const value = values[row];
    if (value === null || value === undefined) {
      validity ??= new Uint8Array(Math.ceil(rows / 8)).fill(255);
      validity[row >> 3] &= ~(1 << (row & 7));
      if (!type.list) items.push(zero(type));
    } else if (type.list) {
      if (typeof value === "string" || typeof value[Symbol.iterator] !== "function") {
        throw new Fault(`output ${name} is declared ${type.text}, row ${row} is no list`);
      }
      for (const item of value) items.push(convert(name, type, item, row));
    } else {
      items.push(convert(name, type, value, row));
    }
    offsets[row + 1] = items.length;
  }
  const packed = pack(type, items);
  const held = type.list ? { tag: "array", val: { offsets, items: packed } } : { tag: "scalar", val: packed };
  return { values: held, validity };
}

// --- the component ---

const REQUEST = Object.freeze({
  /** Milliseconds since the epoch, as Date.now() would tell them. */
  now: () => Number(nowMicros()) / 1000,
  seed: () => BigInt.asUintN(64, seed()),
  variable: (name) => variable(name) ?? null,
  log: (message, level = "info") => log(level, String(message)),
});

function describeError(error) {
  if (!(error instanceof Error)) return String(error);
  const place = /(transform\.[jt]s:\d+(:\d+)?)/.exec(error.stack ?? "");
  return `${error.name}: ${error.message}${place ? ` (${place[1]})` : ""}`;
}

/** RangeError rejects the request; every other error is a fault of the function. */
function failure(error, row) {
  if (error instanceof Fault) return { tag: "internal", val: error.message };
  const text = describeError(error);
  log("error", text);
  if (error instanceof RangeError) {
    return { tag: "rejected", val: { row, message: error.message } };
  }
  return { tag: "internal", val: text };
}

export function component(definition) {
  const named = (section, nullable) =>
    Object.entries(definition[section] ?? {}).map(([name, text]) => {
      const type = parse(`${section} ${name}`, text);
      return { name, type, field: { name, dataType: dataType(type), nullable: nullable || type.nullable } };
    });
  const overColumns = typeof definition.columns === "function";
  if (!overColumns && typeof definition.row !== "function") {
    throw new Fault("the default export needs a function row(input, request) or columns(input, request)");
  }
  const inputs = named("inputs", !overColumns);
  const outputs = named("outputs", true);
  const noneTakes = inputs.every(({ type }) => !type.nullable);
  const signature = {
    name: definition.name,
    version: definition.version ?? "0.1.0",
    inputs: inputs.map(({ field }) => ({ ...field, nullable: noneTakes || field.nullable })),
    outputs: outputs.map(({ field }) => field),
    nullHandling: noneTakes ? "null-in-null-out" : "called-on-null",
    volatility: definition.volatility ?? "per-request",
  };

  function overRows(columns, rows, at) {
    const gathered = Object.fromEntries(outputs.map(({ name }) => [name, new Array(rows).fill(null)]));
    for (let row = 0; row < rows; row += 1) {
      const input = {};
      let withheld = false;
      inputs.forEach(({ name, type }, index) => {
        input[name] = columns[index][row];
        withheld ||= input[name] === null && !type.nullable;
      });
      if (withheld) continue;
      at.row = row;
      const answer = definition.row(input, REQUEST);
      for (const { name } of outputs) {
        if (answer?.[name] === undefined) throw new Fault(`the function did not return ${name}`);
        gathered[name][row] = answer[name];
      }
    }
    return gathered;
  }

  return {
    describe: () => signature,
    apply(batch) {
      const at = { row: undefined };
      try {
        const columns = batch.columns.map((column, index) => read(inputs[index].name, inputs[index].type, column));
        const answer = overColumns
          ? definition.columns(Object.fromEntries(inputs.map(({ name }, index) => [name, columns[index]])), REQUEST)
          : overRows(columns, batch.rows, at);
        return { rows: batch.rows, columns: outputs.map(({ name, type }) => write(name, type, answer[name], batch.rows)) };
      } catch (error) {
        throw failure(error, at.row);
      }
    },
  };
}
