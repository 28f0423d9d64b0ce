// When to ask the server again for what it did not answer.

/** Milliseconds to the second question; each further one is so much later, up to `LONGEST`. */
export const FIRST = 1000;
export const LONGEST = 4000;

/**
 * Whether to ask again. `status` is that of the answer, 0 or nothing where there was none.
 *
 * A server that does not answer is being started anew, or the network is away: the broadcast goes on when it is back, and until then
 * what is buffered stays on the screen. That may take as long as its grace time, which only the server knows; `/status` says when there
 * is nothing to wait for. What the server says it does not have (4xx) is another matter: it will not come by asking.
 */
export function askAgain(status: number | undefined): boolean {
  return !status || status >= 500;
}
