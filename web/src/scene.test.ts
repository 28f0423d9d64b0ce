import assert from "node:assert/strict";
import test from "node:test";
import { latencyText, levelText, playable, scene, unplayable, type Known, type Playback } from "./scene";

const states: Known[] = ["loading", "offline", "starting", "live", "reconnecting", "ended", "unknown", "unreachable"];

test("a moving picture is never covered while there is one to see", () => {
  for (const known of ["live", "reconnecting", "ended", "unreachable"] as const) {
    assert.equal(scene(known, "showing").message, null, known);
  }
});

test("whatever is missing is said", () => {
  for (const known of states) {
    for (const playback of ["none", "waiting", "finished", "unsupported"] as Playback[]) {
      assert.ok(scene(known, playback).message?.title, `${known}, ${playback}`);
    }
  }
});

test("a codec that the browser lacks is named, each once", () => {
  const variants = ["hvc1.1.6.L93.B0,mp4a.40.2", "hvc1.1.6.L120.B0, mp4a.40.2", "av01.0.05M.08,Opus", "", "xyz1"];
  const plays = (codec: string): boolean => codec === "mp4a.40.2" || codec === "Opus";
  const missing = unplayable(variants, plays);
  assert.deepEqual(missing, ["HEVC", "AV1", "xyz1"]);
  assert.equal(scene("live", "unsupported", ["HEVC"]).message?.title, "This browser cannot play HEVC");
  assert.equal(scene("live", "unsupported", missing).message?.title, "This browser cannot play HEVC and AV1 and xyz1");
  assert.equal(scene("live", "unsupported", []).message?.title, "This browser cannot play the stream");
  assert.equal(scene("live", "showing", missing).message, null);
});

test("the state is one or two words", () => {
  const words = states.map((known) => scene(known, "none").state);
  assert.deepEqual(words, ["Loading", "Offline", "Starting", "Live", "Reconnecting", "Ended", "Gone", "No connection"]);
});

test("an ended session is played on but not begun", () => {
  assert.deepEqual([playable("ended", true), playable("ended", false)], [true, false]);
  assert.deepEqual([playable("live", false), playable("reconnecting", false), playable("starting", false)], [true, true, false]);
  assert.deepEqual([playable("offline", true), playable("unknown", true), playable("unreachable", true)], [false, false, true]);
});

test("latencies and levels read well", () => {
  assert.deepEqual([-0.2, 4.13, 9.96, 42.4, 99.6, 600].map(latencyText), ["0.0 s", "4.1 s", "10 s", "42 s", "2 min", "10 min"]);
  assert.equal(levelText({ height: 1080, frameRate: 29.97, bitrate: 6e6 }), "1080p");
  assert.equal(levelText({ height: 720, frameRate: 59.94, bitrate: 3e6 }), "720p60");
  assert.equal(levelText({ height: 480, bitrate: 1e6 }), "480p");
  assert.equal(levelText({ bitrate: 128_000 }), "128 kbit/s");
});
