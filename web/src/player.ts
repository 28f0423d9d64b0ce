// Plays a multivariant playlist in a <video>: hls.js where there are Media Source Extensions, else the browser itself.

import Hls, { ErrorDetails, ErrorTypes, Events, type LoaderConfig } from "hls.js";
import { askAgain, FIRST, LONGEST } from "./patience";
import { levelText, unplayable, type Playback } from "./scene";

/** One choice of quality. */
export interface Level {
  /** Number to hand to `choose`. */
  index: number;
  text: string;
}

/** Milliseconds before a source that failed is tried anew. */
const RETRY = 2000;
/** Milliseconds within which a second media error is not repaired but begun anew. */
const REPAIR_ONCE_IN = 5000;

/** A policy of hls.js that asks a server which is away again, and so keeps what is buffered and where it is. */
function patient(policy: LoaderConfig): LoaderConfig {
  const errorRetry = {
    maxNumRetry: Infinity,
    retryDelayMs: FIRST,
    maxRetryDelayMs: LONGEST,
    backoff: "linear" as const,
    shouldRetry: (_: unknown, __: number, ___: boolean, answer?: { code?: number }): boolean => askAgain(answer?.code),
  };
  return { ...policy, errorRetry, timeoutRetry: errorRetry };
}

/** The player. `changed` is called whenever something that it tells has changed. */
export class Player {
  #hls: Hls | null = null;
  #url: string | null = null;
  #playback: Playback = "none";
  #retry: ReturnType<typeof setTimeout> | undefined;
  #repaired = -Infinity;
  /** CODECS of each variant of the source. */
  #codecs: string[] = [];

  constructor(
    readonly video: HTMLVideoElement,
    readonly changed: () => void,
  ) {
    for (const event of ["playing", "timeupdate"]) {
      video.addEventListener(event, () => {
        // A stalled video may tell its time too, when hls.js looks for a way over a hole.
        const moves = video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA;
        if (this.#url !== null && moves && !video.ended) this.#set("showing");
      });
    }
    video.addEventListener("waiting", () => this.#url !== null && this.#set("waiting"));
    video.addEventListener("ended", () => this.#url !== null && this.#set("finished"));
    video.addEventListener("error", () => this.#hls === null && this.#url !== null && this.#again());
  }

  get playback(): Playback {
    return this.#playback;
  }

  /** The hls.js instance, when that is what plays. */
  get hls(): Hls | null {
    return this.#hls;
  }

  /** Names of the codecs for which this browser can play no variant of the source. */
  missing(): string[] {
    if (this.#playback !== "unsupported") return [];
    const source = Hls.getMediaSource();
    return unplayable(this.#codecs, (codec) => source?.isTypeSupported(`video/mp4; codecs="${codec}"`) ?? false);
  }

  get attached(): boolean {
    return this.#url !== null;
  }

  /** Begins to play `url`. */
  attach(url: string): void {
    this.detach();
    this.#url = url;
    this.#set("waiting");
    if (Hls.isSupported()) this.#withHls(url);
    else if (this.video.canPlayType("application/vnd.apple.mpegurl") !== "") {
      this.video.src = url;
      this.#play();
    } else this.#set("unsupported");
  }

  /** Stops and forgets the source. */
  detach(): void {
    clearTimeout(this.#retry);
    this.#hls?.destroy();
    this.#hls = null;
    this.#codecs = [];
    if (this.#url !== null) {
      this.video.removeAttribute("src");
      this.video.load();
    }
    this.#url = null;
    this.#set("none");
  }

  /** The levels to choose from, best first; empty where the browser chooses by itself. */
  levels(): Level[] {
    const levels = (this.#hls?.levels ?? []).map((level, index) => ({ index, text: levelText(level), rank: level.bitrate }));
    return levels.sort((a, b) => b.rank - a.rank);
  }

  /** The chosen level, -1 for automatic. */
  chosen(): number {
    // `nextLevel` would be the level of what is buffered, which follows the choice seconds later.
    return this.#hls?.manualLevel ?? -1;
  }

  /** Plays this level from the next segment on; -1 for automatic. */
  choose(index: number): void {
    if (this.#hls !== null) this.#hls.nextLevel = index;
    this.changed();
  }

  /** What is on the screen, as a text. */
  showing(): string {
    const level = this.#hls?.levels[this.#hls.currentLevel];
    if (level !== undefined) return levelText(level);
    return this.video.videoHeight > 0 ? `${this.video.videoHeight}p` : "";
  }

  /** Seconds behind what the server has; `null` where that is not known. */
  latency(): number | null {
    if (this.#hls?.latestLevelDetails?.live) return this.#hls.latency;
    const start = startDate(this.video);
    return start === null ? null : Math.max(0, (Date.now() - start) / 1000 - this.video.currentTime);
  }

  /** Whether there is so much to catch up with that a jump to live would be seen. */
  behind(): boolean {
    const edge = this.#edge();
    return edge !== null && edge - this.video.currentTime > 5;
  }

  /** Plays from the live edge. */
  goLive(): void {
    const edge = this.#edge();
    if (edge !== null) this.video.currentTime = edge;
    this.#play();
  }

  /** Plays or pauses. After a pause a live stream goes on where it is live. */
  toggle(): void {
    if (!this.video.paused) this.video.pause();
    else if (this.behind()) this.goLive();
    else this.#play();
  }

  #edge(): number | null {
    if (this.#hls !== null) return this.#hls.liveSyncPosition;
    const { seekable } = this.video;
    return this.video.duration === Infinity && seekable.length > 0 ? seekable.end(seekable.length - 1) : null;
  }

  #withHls(url: string): void {
    const hls = new Hls({
      // The worker only helps to repackage MPEG-TS; ours is fMP4, which is handed on as it is.
      enableWorker: false,
      capLevelToPlayerSize: true,
      backBufferLength: 30,
      // A phone held upright shows 480p; a screen with dense pixels more.
      ignoreDevicePixelRatio: false,
      manifestLoadPolicy: { default: patient(Hls.DefaultConfig.manifestLoadPolicy.default) },
      playlistLoadPolicy: { default: patient(Hls.DefaultConfig.playlistLoadPolicy.default) },
      fragLoadPolicy: { default: patient(Hls.DefaultConfig.fragLoadPolicy.default) },
    });
    this.#hls = hls;
    for (const event of [Events.MANIFEST_PARSED, Events.LEVEL_SWITCHED, Events.LEVELS_UPDATED]) {
      hls.on(event, () => this.changed());
    }
    hls.on(Events.MANIFEST_PARSED, () => this.#play());
    // Before variants that cannot be played are sorted out.
    hls.on(Events.MANIFEST_LOADED, (_event, { levels }) => {
      this.#codecs = levels.map((level) => level.attrs.CODECS ?? "");
    });
    hls.on(Events.ERROR, (_event, error) => {
      if (!error.fatal) return;
      // No variant can be played, and trying anew changes nothing.
      if (error.details === ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR) {
        this.#set("unsupported");
        return;
      }
      const now = performance.now();
      if (error.type === ErrorTypes.MEDIA_ERROR && now - this.#repaired > REPAIR_ONCE_IN) {
        this.#repaired = now;
        hls.recoverMediaError();
      } else this.#again();
    });
    hls.loadSource(url);
    hls.attachMedia(this.video);
  }

  /** Begins anew after a moment: the server may be restarting, or the session have just ended. */
  #again(): void {
    const url = this.#url;
    if (url === null) return;
    this.#set("waiting");
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.attach(url), RETRY);
  }

  #play(): void {
    // The page begins muted, which browsers allow; one that saves power may still want a gesture. Then the bar with its Play
    // button is what the viewer must see.
    this.video.play().catch((error: unknown) => {
      if (error instanceof DOMException && error.name === "NotAllowedError" && this.#url !== null) this.#set("showing");
      this.changed();
    });
  }

  #set(playback: Playback): void {
    if (this.#playback === playback) return;
    this.#playback = playback;
    this.changed();
  }
}

/** The wall clock of media time zero, where the browser plays HLS itself (WebKit), in milliseconds. */
function startDate(video: HTMLVideoElement): number | null {
  const { getStartDate } = video as HTMLVideoElement & { getStartDate?: () => Date };
  const start = getStartDate?.call(video).getTime();
  return start === undefined || Number.isNaN(start) ? null : start;
}
