// Observes the watch page's own hls.js.
import type Hls from "hls.js";
import type { ErrorDetails, Events } from "hls.js";
import { observe } from "./observe";

const page = (window as Window & { millstream?: { video: HTMLVideoElement; hls: Hls | null } }).millstream;
const first = page?.hls ?? null;
if (page === undefined || first === null) throw new Error("this is not the watch page, or it does not play with hls.js");
const observed = observe(page.video);
first.on("hlsError" as Events.ERROR, (_event, error) => {
  if (error.fatal) observed.fatal.push(`${error.type} ${error.details}`);
  if (error.details === ("levelLoadError" as ErrorDetails.LEVEL_LOAD_ERROR) && !error.response?.code) observed.refused += 1;
});
// A player that began anew has forgotten what was on the screen.
first.on("hlsDestroying" as Events.DESTROYING, () => observed.fatal.push("the page gave its player up"));
