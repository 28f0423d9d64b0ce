// Follows `/watch/<stream>/status`.

import type { Known, StreamState } from "./scene";

/** The server's answer. */
export interface Status {
  stream: string;
  title: string;
  state: StreamState;
  playlist: string;
}

/** Milliseconds between questions while live, when the player would notice most things itself. */
const CALM = 5000;
/** Milliseconds between questions while the viewer waits for something. */
const EAGER = 2000;
/** Milliseconds after which an answer is not waited for any more. */
const PATIENCE = 8000;
/** Failures in a row before the page says so: one lost request is nothing. */
const FAILURES = 3;

/** Asks again and again, and tells `found` after every answer. A hidden page does not ask; it asks at once when it is seen again. */
export function follow(stream: string, found: (known: Known, status: Status | null) => void): void {
  let failures = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asking = false;

  const ask = async (): Promise<void> => {
    if (asking) return;
    asking = true;
    let pause = EAGER;
    try {
      const answer = await request(stream);
      failures = 0;
      if (answer === null) found("unknown", null);
      else found(answer.state, answer);
      pause = answer?.state === "live" ? CALM : EAGER;
    } catch {
      failures += 1;
      if (failures >= FAILURES) found("unreachable", null);
    }
    asking = false;
    clearTimeout(timer);
    // A thousand pages that were opened at the same moment must not ask at the same moment.
    if (!document.hidden) timer = setTimeout(ask, pause * (0.8 + 0.4 * Math.random()));
  };

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void ask();
  });
  void ask();
}

/** The answer; `null` when there is no such stream. */
async function request(stream: string): Promise<Status | null> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), PATIENCE);
  try {
    const response = await fetch(`/watch/${encodeURIComponent(stream)}/status`, { signal: abort.signal });
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`status ${response.status}`);
    return (await response.json()) as Status;
  } finally {
    clearTimeout(timer);
  }
}
