// The bar over the picture, and the keys.

import type { Player } from "./player";
import { latencyText } from "./scene";

/** Milliseconds without a movement after which the bar leaves the picture. */
const IDLE = 2500;

/** The element with this id, which the page's own HTML has. */
export function byId<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element as T;
}

/** Connects the bar and the keys with `player`; call `update` when the player has changed, and once a second. */
export function controls(player: Player): { update: () => void } {
  const { video } = player;
  const stage = byId("stage");
  const play = byId<HTMLButtonElement>("play");
  const mute = byId<HTMLButtonElement>("mute");
  const unmute = byId<HTMLButtonElement>("unmute");
  const volume = byId<HTMLInputElement>("volume");
  const live = byId<HTMLButtonElement>("live");
  const level = byId<HTMLSelectElement>("level");
  const fullscreen = byId<HTMLButtonElement>("fullscreen");

  const toggleMute = (): void => {
    video.muted = !video.muted;
    if (!video.muted && video.volume === 0) video.volume = 0.5;
  };
  const toggleFullscreen = (): void => {
    if (document.fullscreenElement !== null) void document.exitFullscreen();
    else if (stage.requestFullscreen !== undefined) stage.requestFullscreen().catch(() => undefined);
    // An iPhone shows nothing but the video itself in full screen.
    else (video as HTMLVideoElement & { webkitEnterFullscreen?: () => void }).webkitEnterFullscreen?.();
  };

  play.addEventListener("click", () => player.toggle());
  mute.addEventListener("click", toggleMute);
  unmute.addEventListener("click", () => {
    toggleMute();
    mute.focus();
  });
  live.addEventListener("click", () => player.goLive());
  level.addEventListener("change", () => player.choose(Number(level.value)));
  fullscreen.addEventListener("click", toggleFullscreen);
  // A mouse click on the picture pauses, as people expect; a finger's tap only brings the bar.
  video.addEventListener("click", (event) => {
    if ((event as PointerEvent).pointerType === "mouse" && player.attached) player.toggle();
  });
  volume.addEventListener("input", () => {
    video.volume = Number(volume.value);
    video.muted = video.volume === 0;
  });
  for (const event of ["play", "pause", "volumechange"]) video.addEventListener(event, () => update());

  keys({ k: () => player.toggle(), m: toggleMute, f: toggleFullscreen, l: () => player.goLive() });
  hideWhenIdle(stage, video);

  const update = (): void => {
    const attached = player.attached && player.playback !== "unsupported";
    stage.classList.toggle("is-attached", attached);
    stage.classList.toggle("is-paused", video.paused);
    stage.classList.toggle("is-muted", video.muted);
    label(play, video.paused ? "Play" : "Pause", "k");
    label(mute, video.muted ? "Sound on" : "Mute", "m");
    mute.setAttribute("aria-pressed", String(video.muted));
    volume.value = String(video.muted ? 0 : video.volume);
    unmute.hidden = !(video.muted && attached && player.playback === "showing");
    updateLive();
    updateLevels();
  };

  const updateLive = (): void => {
    const latency = player.latency();
    live.hidden = latency === null || !player.attached;
    if (latency === null) return;
    const text = latencyText(latency);
    live.classList.toggle("is-behind", player.behind());
    byId("live-text").textContent = `Live ${text}`;
    live.setAttribute("aria-label", `${text} behind live. Jump to live`);
  };

  const updateLevels = (): void => {
    const levels = player.levels();
    byId("level-box").hidden = levels.length < 2;
    const auto = player.chosen() === -1 && player.showing() !== "" ? `Auto (${player.showing()})` : "Auto";
    const wanted = [{ index: -1, text: auto }, ...levels];
    // Options that are there stay there: replacing them would close an open list.
    while (level.options.length > wanted.length) level.remove(level.options.length - 1);
    wanted.forEach(({ index, text }, place) => {
      const option = level.options[place] ?? level.appendChild(document.createElement("option"));
      if (option.value !== String(index)) option.value = String(index);
      if (option.textContent !== text) option.textContent = text;
    });
    if (document.activeElement !== level) level.value = String(player.chosen());
  };

  return { update };
}

function label(button: HTMLButtonElement, text: string, key: string): void {
  button.setAttribute("aria-label", text);
  button.title = `${text} (${key})`;
}

/** Single keys act unless they are meant for something that has the focus and takes text or keys. */
function keys(actions: Record<string, () => void>): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLSelectElement) return;
    const action = actions[event.key.toLowerCase()];
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
}

/** The bar leaves while nobody moves, and comes with the pointer, a touch, the keyboard or a pause. */
function hideWhenIdle(stage: HTMLElement, video: HTMLVideoElement): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const wake = (): void => {
    stage.classList.remove("is-idle");
    clearTimeout(timer);
    timer = setTimeout(() => {
      const used = stage.querySelector(".bar")?.matches(":focus-within, :hover");
      if (!video.paused && !used) stage.classList.add("is-idle");
    }, IDLE);
  };
  for (const event of ["pointermove", "pointerdown", "keydown", "focusin"]) stage.addEventListener(event, wake);
  stage.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && !video.paused) stage.classList.add("is-idle");
  });
  video.addEventListener("playing", wake);
}
