// What the end-to-end tests ask a page about its player, whichever it is. Part of the tests, never of the daemon.

/** How often the picture is looked at, in milliseconds. */
const LOOK_EVERY = 50;
/** A page that was not run for so many milliseconds cannot tell what its picture did: its machine stood still. */
const NOT_RUN = 1000;

/** What a player has to tell. */
export interface Observed {
  /** When this began: another time when the page was loaded anew. */
  readonly since: number;
  /** Milliseconds for which the picture stood still, since it moved for the first time. */
  stalled: number;
  /** The furthest that the time of the picture ever went back, in seconds. */
  wentBack: number;
  /** How often the server did not answer when it was asked for a playlist. */
  refused: number;
  /** Fatal errors. */
  readonly fatal: string[];
  /** The time up to which the player has media. */
  edge: () => number;
}

declare global {
  interface Window {
    observed?: Observed;
  }
}

/** Begins to look at `video`. */
export function observe(video: HTMLVideoElement): Observed {
  const edge = (): number => (video.buffered.length === 0 ? 0 : video.buffered.end(video.buffered.length - 1));
  const observed: Observed = { since: performance.now(), stalled: 0, wentBack: 0, refused: 0, fatal: [], edge };
  let seen = { time: video.currentTime, at: performance.now() };
  setInterval(() => {
    const now = { time: video.currentTime, at: performance.now() };
    const moved = now.time - seen.time;
    if (moved === 0 && now.time > 0 && now.at - seen.at < NOT_RUN) observed.stalled += now.at - seen.at;
    observed.wentBack = Math.max(observed.wentBack, -moved);
    seen = now;
  }, LOOK_EVERY);
  window.observed = observed;
  return observed;
}
