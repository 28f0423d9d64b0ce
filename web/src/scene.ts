// What the page says, worked out from what the server says of the stream and what the player does. Pure, so that every
// combination can be tested without a browser.

/** What a stream does, as `/watch/<stream>/status` says it. */
export type StreamState = "offline" | "starting" | "live" | "reconnecting" | "ended";

/** What the page knows of the stream; `unknown` and `unreachable` are its own findings. */
export type Known = StreamState | "loading" | "unknown" | "unreachable";

/** What the player does. */
export type Playback =
  /** There is no source. */
  | "none"
  /** It waits for media, for the first time or again. */
  | "waiting"
  /** The picture moves, or the viewer paused it. */
  | "showing"
  /** It has played everything up to ENDLIST. */
  | "finished"
  /** This browser can play neither with Media Source Extensions nor by itself, or knows no codec of the stream. */
  | "unsupported";

/** A page's message over the picture and its word for the state. */
export interface Scene {
  /** One or two words beside the title. */
  state: string;
  /** Over the picture; `null` leaves it free. */
  message: { title: string; detail: string } | null;
  /** Something is under way: the message breathes. */
  busy: boolean;
}

/** The scene for what is known. `missing`: names of the codecs that this browser lacks, see `unplayable`. */
export function scene(known: Known, playback: Playback, missing: string[] = []): Scene {
  if (playback === "unsupported" && known !== "unknown") {
    if (missing.length > 0) {
      return still("Cannot play", `This browser cannot play ${missing.join(" and ")}`, "Another browser, or another device, may.");
    }
    return still("Cannot play", "This browser cannot play the stream", "A recent version of Chrome, Edge, Firefox or Safari can.");
  }
  switch (known) {
    case "loading":
      return busy("Loading", "Loading", "");
    case "unknown":
      return still("Gone", "This stream no longer exists", "");
    case "unreachable":
      return overFrozen(playback, busy("No connection", "No connection to the server", "Trying again."));
    case "offline":
      return still("Offline", "Not live right now", "This page starts by itself when the stream does.");
    case "starting":
      return busy("Starting", "Starting", "The picture will be here in a moment.");
    case "live":
      return overFrozen(playback, busy("Live", "Loading", ""));
    case "reconnecting":
      return overFrozen(playback, busy("Reconnecting", "The broadcast is interrupted", "It goes on here by itself when it is back."));
    case "ended":
      return overFrozen(playback, still("Ended", "The broadcast has ended", "Should it start again, it will play here."));
  }
}

/** The message waits until the picture stands still: what is buffered is still worth seeing. */
function overFrozen(playback: Playback, scene: Scene): Scene {
  return playback === "showing" ? { ...scene, message: null, busy: false } : scene;
}

function still(state: string, title: string, detail: string): Scene {
  return { state, message: { title, detail }, busy: false };
}

function busy(state: string, title: string, detail: string): Scene {
  return { state, message: { title, detail }, busy: true };
}

/** Whether there is something to load in this state. An ended session is played to its end by whoever watched it, and not begun. */
export function playable(known: Known, playing: boolean): boolean {
  return known === "live" || known === "reconnecting" || (playing && (known === "ended" || known === "unreachable"));
}

/** What codecs are called, by what their RFC 6381 strings begin with. */
const CODECS: [string, string][] = [
  ["avc", "H.264"],
  ["hvc", "HEVC"],
  ["hev", "HEVC"],
  ["av01", "AV1"],
  ["vp09", "VP9"],
  ["mp4a", "AAC"],
  ["Opus", "Opus"],
];

/** Names of the codecs that `plays` knows not, each once, from the CODECS of all variants. */
export function unplayable(variants: string[], plays: (codec: string) => boolean): string[] {
  const codecs = variants.flatMap((codecs) => codecs.split(",")).map((codec) => codec.trim());
  const missing = codecs.filter((codec) => codec !== "" && !plays(codec));
  return [...new Set(missing.map((codec) => CODECS.find(([prefix]) => codec.startsWith(prefix))?.[1] ?? codec))];
}

/** Seconds behind live, for people: tenths up to ten, then whole seconds, then minutes. */
export function latencyText(seconds: number): string {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

/** A rung for people: `1080p`, `720p60`, or its bitrate when it has no picture size. */
export function levelText(level: { height?: number; frameRate?: number; bitrate: number }): string {
  if (!level.height) return `${Math.round(level.bitrate / 1000)} kbit/s`;
  const fast = level.frameRate !== undefined && level.frameRate > 31;
  return `${level.height}p${fast ? Math.round(level.frameRate ?? 0) : ""}`;
}
