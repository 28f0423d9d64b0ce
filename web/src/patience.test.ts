import assert from "node:assert/strict";
import test from "node:test";
import { askAgain } from "./patience";

test("a server that is away or troubled is asked again", () => {
  assert.deepEqual([undefined, 0, 500, 502, 503, 504].map(askAgain), [true, true, true, true, true, true]);
});

test("what the server does not have is not asked for again", () => {
  assert.deepEqual([400, 403, 404, 410].map(askAgain), [false, false, false, false]);
});
