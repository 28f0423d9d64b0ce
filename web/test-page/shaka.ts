// Plays a playlist with Shaka Player, set up as docs/operators.md says: `window.watch(url, window)`.
import shaka from "shaka-player";
import { observe } from "./observe";

declare global {
  interface Window {
    watch?: (url: string, seconds: number) => Promise<void>;
  }
}

const { Category, Code, Severity } = shaka.util.Error;

/** Plays `url`, whose playlists reach `seconds` back when they are full. */
window.watch = async (url: string, seconds: number): Promise<void> => {
  shaka.polyfill.installAll();
  const video = document.createElement("video");
  video.muted = true;
  video.autoplay = true;
  document.body.replaceChildren(video);
  const player = new shaka.Player();
  player.configure({
    manifest: { availabilityWindowOverride: seconds },
    // Called for what could not be loaded: a gap (SEGMENT_MISSING), a server that is away.
    streaming: { failureCallback: (_error: shaka.util.Error) => player.retryStreaming(1) },
  });
  const observed = observe(video);
  player.addEventListener("error", (event: Event) => {
    const { severity, category, code, data } = (event as Event & { detail: shaka.util.Error }).detail;
    if (code === Code.HTTP_ERROR) observed.refused += 1;
    // What could not be loaded is told as critical, before the callback is asked.
    if (severity === Severity.CRITICAL && category !== Category.NETWORK) observed.fatal.push(`${code} ${JSON.stringify(data)}`);
  });
  await player.attach(video);
  await player.load(url);
  await video.play();
};
