// Reads features, topic queues and live counts from one Redis server, by docs/layout.md alone.
// Node 20.15 or later, no packages.
//
//   node reader.mjs redis://localhost:6379 features video_topics v1 v2
//   node reader.mjs redis://localhost:6379 queue 17 10        (p3: a parent's, all: everybody's)
//   node reader.mjs redis://localhost:6379 live v1 v2
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { pathToFileURL } from "node:url";
import { crc32 } from "node:zlib";

export const HEADER = 29;
const LAYOUT = 2, TOMBSTONE = 16, CHAINED = 32;
const SIZES = { int8: 1, int16: 2, int32: 4, int64: 8, float16: 2, float32: 4, float64: 8, bool: 1, timestamp: 8 };

// ---- Keys

export function slot(tag) { // CRC-16 of Redis' cluster, modulo its slots
  let crc = 0;
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc % 16384;
}

export function evenTags(buckets) { // of each bucket the shortest tag near the middle of its slots
  const signs = [..."0123456789abcdefghijklmnopqrstuvwxyz"], spacing = 16384 / buckets;
  const tags = Array(buckets).fill("");
  for (let texts = signs; ; texts = texts.flatMap((text) => signs.map((sign) => text + sign))) {
    const tagOf = new Map();
    for (const text of texts) if (!tagOf.has(slot(text))) tagOf.set(slot(text), text);
    const slots = [...tagOf.keys()].sort((a, b) => a - b);
    for (let bucket = 0; bucket < buckets; bucket++) {
      const middle = (bucket + 0.5) * spacing;
      const nearest = slots.reduce((a, b) => (Math.abs(b - middle) < Math.abs(a - middle) ? b : a));
      const isOwn = bucket * spacing <= nearest && nearest < (bucket + 1) * spacing;
      if (!tags[bucket] && isOwn && Math.abs(nearest - middle) <= Math.max(spacing / 4, 0.5)) tags[bucket] = tagOf.get(nearest);
    }
    if (tags.every(Boolean)) return tags;
  }
}

export const bucketOf = (id, layout) => crc32(Buffer.from(id)) % layout.tags.length;
export const tagged = (id, layout) => `{${layout.tags[bucketOf(id, layout)]}}`;
export const featureKey = (prefix, entry, layout, id) => `${prefix}:${entry.generation}:${entry.number}:${tagged(id, layout)}${id}`;
export const queueKey = (prefix, load, layout, name) => `${prefix}:queue:${load}:${tagged(name, layout)}${name}`;
export const liveQueueKey = (prefix, release, load, layout, name) => `${prefix}:live:${release}:queue:${load}:${tagged(name, layout)}${name}`;
export const liveKey = (prefix, release, layout, id) => `${prefix}:live:${release}:video:state:${tagged(id, layout)}`;
export const fingerprint = (view, id) => (crc32(Buffer.from(id)) ^ Math.imul(view, 0x9e3779b1)) >>> 0;

// ---- Values

export function visible(value, live) { // the newest version whose load is live; null: none
  for (;;) {
    if (value.length < HEADER || (value[0] & 15) !== LAYOUT) throw new Error("no header of this layout");
    const isChained = value[0] & CHAINED;
    const length = isChained ? value.readUInt32LE(value.length - 4) : value.length;
    if (isChained && (length < HEADER || length > value.length - 4 - HEADER)) throw new Error("a head that ends elsewhere");
    const head = value.subarray(0, length);
    if (head.readUInt32LE(9) <= live) return head;
    if (!isChained) return null;
    value = value.subarray(length, value.length - 4);
  }
}

function number(bytes, at, type) {
  switch (type) {
    case "bool": return bytes[at] !== 0;
    case "int8": return bytes.readInt8(at);
    case "int16": return bytes.readInt16LE(at);
    case "int32": return bytes.readInt32LE(at);
    case "float32": return bytes.readFloatLE(at);
    case "float64": return bytes.readDoubleLE(at);
    case "float16": return half(bytes.readUInt16LE(at));
    default: return Number(bytes.readBigInt64LE(at)); // exact up to 2^53: microseconds until 2255
  }
}

function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

const isVariable = (field) => ["list", "bytes"].includes(field.kind) || (field.kind === "vector" && field.width === 1);
const numbers = (bytes, at, count, wire) => Array.from({ length: count }, (_, i) => number(bytes, at + i * SIZES[wire], wire));

function variable(field, bytes) {
  if (field.kind === "bytes") return field.type === "string" ? bytes.toString() : bytes;
  if (field.type in SIZES) return numbers(bytes, 0, bytes.length / SIZES[field.wire], field.wire);
  const count = bytes.readUInt32LE(0), body = bytes.subarray(4 * (count + 1));
  const ends = numbers(bytes, 4, count, "int32");
  return ends.map((end, i) => body.subarray(i ? ends[i - 1] : 0, end).toString());
}

export function decode(fields, value) { // name -> value, null where there is none
  const fixedSize = (f) => (isVariable(f) ? 4 : SIZES[f.wire] * (["slots", "vector"].includes(f.kind) ? f.width : 1));
  const nulls = HEADER + Math.ceil(fields.length / 8);
  const tail = nulls + fields.reduce((sum, field) => sum + fixedSize(field), 0);
  const row = {};
  let at = nulls, begin = 0;
  fields.forEach((field, i) => {
    const isNull = value[HEADER + (i >> 3)] & (1 << (i & 7));
    if (isVariable(field)) {
      const end = value.readUInt32LE(at);
      row[field.name] = isNull ? null : variable(field, value.subarray(tail + begin, tail + end));
      begin = end;
    } else if (isNull) row[field.name] = null;
    else if (field.kind === "scalar") row[field.name] = number(value, at, field.wire);
    else row[field.name] = numbers(value, at, field.width, field.wire);
    at += fixedSize(field);
  });
  if (value.length !== tail + begin) throw new Error("bytes that don't fit the schema");
  return row;
}

export function judge(value, { live, schemas, mark, ttlUs = 0, nowUs = Date.now() * 1000 }) { // one answer of MGET
  try {
    const head = value && visible(value, live);
    if (!head) return { status: "not_found" };
    if (head.readUInt32LE(5) !== mark) return { status: "unreadable" };
    const times = { event_us: number(head, 13, "int64"), created_us: number(head, 21, "int64") };
    if (head[0] & TOMBSTONE) return { status: "null", ...times };
    if (ttlUs && times.event_us < nowUs - ttlUs) return { status: "outside_max_age", ...times };
    const fields = schemas.get(head.readUInt32LE(1));
    return fields ? { status: "present", ...times, features: decode(fields, head) } : { status: "unreadable" };
  } catch {
    return { status: "unreadable" };
  }
}

export const schemaHash = (text) => createHash("sha256").update(text).digest().readUInt32LE(0);

export const releaseOf = (entry) => Number(entry?.source.split(" ")[0] || 0); // whose events go with a view; 0: none

// ---- Redis' protocol: bulk strings, numbers, lists, errors

class Server {
  constructor(socket) {
    this.socket = socket;
    this.bytes = Buffer.alloc(0);
    this.waiting = [];
    socket.on("data", (part) => { this.bytes = Buffer.concat([this.bytes, part]); this.serve(); });
    for (const event of ["error", "close"]) socket.on(event, (error) => {
      for (const { reject } of this.waiting.splice(0)) reject(error instanceof Error ? error : new Error("Redis: the connection ended"));
    });
  }

  ask(...parts) {
    const encoded = parts.map((part) => { const bytes = Buffer.from(String(part)); return [`$${bytes.length}\r\n`, bytes, "\r\n"]; });
    this.socket.write(Buffer.concat([`*${parts.length}\r\n`, ...encoded.flat()].map((part) => Buffer.from(part))));
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  serve() {
    for (let answer; this.waiting.length && (answer = parse(this.bytes, 0)); ) {
      this.bytes = this.bytes.subarray(answer.end);
      const { resolve, reject } = this.waiting.shift();
      if (answer.value instanceof Error) reject(answer.value); else resolve(answer.value);
    }
  }
}

function parse(bytes, at) { // { value, end }, or null while some of it is missing
  const line = bytes.indexOf("\r\n", at);
  if (line < 0) return null;
  const text = bytes.toString("utf8", at + 1, line), end = line + 2, kind = String.fromCharCode(bytes[at]);
  if (kind === "+") return { value: text, end };
  if (kind === "-") return { value: new Error(`Redis: ${text}`), end };
  if (kind === ":") return { value: Number(text), end };
  const count = Number(text);
  if (count < 0) return { value: null, end };
  if (kind === "$") return bytes.length < end + count + 2 ? null : { value: bytes.subarray(end, end + count), end: end + count + 2 };
  const values = [];
  let next = end;
  for (let i = 0; i < count; i++) {
    const item = parse(bytes, next);
    if (!item) return null;
    values.push(item.value);
    next = item.end;
  }
  return { value: values, end: next };
}

// ---- The reader

export class Reader {
  static async connect(url) { // ?prefix= is online.prefix
    const { hostname, port, username, password, pathname, searchParams } = new URL(url);
    const socket = connect(Number(port || 6379), hostname);
    const server = new Server(socket);
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    if (password) await server.ask("AUTH", ...[username, password].filter(Boolean).map(decodeURIComponent));
    if (Number(pathname.slice(1))) await server.ask("SELECT", pathname.slice(1));
    return new Reader(server, searchParams.get("prefix") ?? "vt");
  }

  constructor(server, prefix) { this.server = server; this.prefix = prefix; this.directory = null; }

  place(name) { return `${this.prefix}:{directory}:${name}`; }

  async look() { // the directory, read between two equal versions of it
    const [before, layout, views, schemas, structures, liveQueues, after] = await Promise.all([
      this.server.ask("GET", this.place("directory")), this.server.ask("GET", this.place("layout")),
      this.server.ask("HGETALL", this.place("views")), this.server.ask("HGETALL", this.place("schemas")),
      this.server.ask("HGETALL", this.place("structures")), this.server.ask("HKEYS", this.place("live_queues")),
      this.server.ask("GET", this.place("directory"))]);
    if (!before || !layout) throw new Error(`Redis, prefix '${this.prefix}': expected a store, found nothing`);
    if (!before.equals(after)) return this.look();
    const plain = JSON.parse(layout);
    if (plain.layout !== LAYOUT || plain.tags !== "even") throw new Error(`expected layout ${LAYOUT}, found ${layout}`);
    const pairs = (list) => Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i].toString(), JSON.parse(list[2 * i + 1])]);
    this.directory = { version: before.toString(), layout: { tags: evenTags(plain.buckets) }, views: new Map(pairs(views)),
      schemas: new Map(pairs(schemas).map(([hash, fields]) => [Number(hash), fields])), structures: new Map(pairs(structures)),
      liveQueues: new Set(liveQueues.map(String)) };
    return this.directory;
  }

  async answers(commands) { // of one directory: its version comes with them, and both times the same
    for (;;) {
      const directory = this.directory ?? (await this.look());
      const asked = commands(directory);
      const [before, ...rest] = await Promise.all([["GET", this.place("directory")], ...asked, ["GET", this.place("directory")]].map((c) => this.server.ask(...c)));
      const after = rest.pop();
      if (before?.toString() === directory.version && after?.toString() === directory.version) return { directory, answers: rest };
      this.directory = null;
    }
  }

  entry(directory, view) {
    const entry = directory.views.get(view);
    if (!entry) throw new Error(`expected one of ${[...directory.views.keys()].join(", ")}, found ${view}`);
    return entry;
  }

  async features(view, ids) {
    const keys = (d) => ids.map((id) => featureKey(this.prefix, this.entry(d, view), d.layout, id));
    const { directory, answers: [values] } = await this.answers((d) => [["MGET", ...keys(d)]]);
    const { number: viewNumber, live, ttl_us: ttlUs } = this.entry(directory, view);
    return values.map((value, i) => judge(value, { live, ttlUs, schemas: directory.schemas, mark: fingerprint(viewNumber, ids[i]) }));
  }

  async queue(name, limit = 10) { // as events have moved it; where none has, the batch's
    const key = (d) => {
      const load = d.structures.get("topic_queues")?.load ?? 0, release = releaseOf(d.views.get("video_statistics"));
      return d.liveQueues.has(`${release}:${load}`) ? liveQueueKey(this.prefix, release, load, d.layout, name) : queueKey(this.prefix, load, d.layout, name);
    };
    const { answers: [videos] } = await this.answers((d) => [["LRANGE", key(d), 0, limit - 1]]);
    return videos.map(String);
  }

  async live(ids) { // exposures and clicks since the release
    const release = (d) => releaseOf(this.entry(d, "video_statistics"));
    const { answers } = await this.answers((d) => ids.map((id) => ["HGET", liveKey(this.prefix, release(d), d.layout, id), id]));
    return answers.map((value) => ({ exposures: value ? value.readUInt32LE(0) : 0, clicks: value ? value.readUInt32LE(4) : 0 }));
  }

  close() { this.server.socket.destroy(); }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [url, verb, ...rest] = process.argv.slice(2);
  const reader = await Reader.connect(url);
  try {
    const verbs = { features: ([view, ...ids]) => reader.features(view, ids), queue: ([name, limit]) => reader.queue(name, Number(limit ?? 10)), live: (ids) => reader.live(ids) };
    if (!(verb in verbs)) throw new Error(`expected ${Object.keys(verbs).join(", ")}, found ${verb}`);
    console.log(JSON.stringify(await verbs[verb](rest)));
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  } finally {
    reader.close();
  }
}
