// The watch page: follows the stream's state, plays what there is, and says what there is not.
//
// For tests and for whoever debugs a stream: `window.millstream` has the video element, the hls.js instance (null where the
// browser plays by itself) and what the page knows of the stream.

import type Hls from "hls.js";
import { byId, controls } from "./controls";
import { Player } from "./player";
import { latencyText, playable, scene, type Known } from "./scene";
import { follow } from "./status";

declare global {
  interface Window {
    millstream?: { readonly video: HTMLVideoElement; readonly hls: Hls | null; readonly state: Known };
  }
}

const page = byId("watch");
const stream = page.dataset["stream"] ?? "";
const playlist = page.dataset["playlist"] ?? "";
let known: Known = "loading";

const player = new Player(byId<HTMLVideoElement>("video"), () => render());
// The attribute in the HTML makes it the default; only the property makes it so after a reload with a remembered form.
player.video.muted = true;
const bar = controls(player);

window.millstream = {
  video: player.video,
  get hls() {
    return player.hls;
  },
  get state() {
    return known;
  },
};

function render(): void {
  const { state, message, busy } = scene(known, player.playback, player.missing());
  page.dataset["state"] = known;
  const veil = byId("veil");
  veil.classList.toggle("is-shown", message !== null);
  veil.classList.toggle("is-busy", busy);
  if (message !== null) {
    say("veil-title", message.title);
    say("veil-detail", message.detail);
  }
  say("state", state);
  say("facts", facts());
  bar.update();
}

/** What is on the screen and how old it is. */
function facts(): string {
  if (player.playback !== "showing") return "";
  const latency = known === "live" ? player.latency() : null;
  return [player.showing(), latency === null ? "" : `${latencyText(latency)} behind`].filter((text) => text !== "").join(" · ");
}

/** Sets a text that changed; a live region would read an unchanged one again. */
function say(id: string, text: string): void {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

follow(stream, (now, status) => {
  const before = known;
  known = now;
  if (status !== null) {
    say("title", status.title);
    document.title = status.title;
  }
  // What played to its end, or another session's playlist: begin with what is there now.
  const anew = now === "live" && player.attached && (before === "ended" || player.playback === "finished");
  if (playable(now, player.attached)) {
    if (!player.attached || anew) player.attach(playlist);
  } else if (player.attached) player.detach();
  render();
});

setInterval(render, 1000);
render();
