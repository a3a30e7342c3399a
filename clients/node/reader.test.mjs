// The golden bytes of tests/layout/golden.json, which the Python side's test reads too.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { evenTags, featureKey, fingerprint, judge, liveKey, liveQueueKey, queueKey, schemaHash, slot } from "./reader.mjs";

const golden = JSON.parse(readFileSync(new URL("../../tests/layout/golden.json", import.meta.url)));

test("slots and tags", () => {
  assert.equal(slot("123456789"), 12739);
  for (const { buckets, tags } of golden.tags) assert.deepEqual(evenTags(buckets), tags);
});

test("keys and fingerprints", () => {
  for (const { buckets, id, generation, number, key, fingerprint: mark, queue, live, live_queue: liveQueue } of golden.keys) {
    const layout = { tags: evenTags(buckets) };
    assert.equal(featureKey("vt", { generation, number }, layout, id), key);
    assert.equal(queueKey("vt", 7, layout, id), queue);
    assert.equal(liveKey("vt", 7, layout, id), live);
    assert.equal(liveQueueKey("vt", 7, 4, layout, id), liveQueue);
    assert.equal(fingerprint(number, id), mark);
  }
});

test("values", () => {
  const schemas = new Map();
  for (const { text, hash } of golden.schemas) {
    assert.equal(schemaHash(text), hash);
    schemas.set(hash, JSON.parse(text));
  }
  assert.ok(golden.values.length > 8);
  for (const { what, hex, live, fingerprint: mark, ttl_us: ttlUs, now_us: nowUs, row } of golden.values) {
    const value = hex === null ? null : Buffer.from(hex, "hex");
    assert.deepEqual(judge(value, { live, schemas, mark, ttlUs, nowUs }), row, what);
  }
});
