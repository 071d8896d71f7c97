/** How long a request may still take, whatever clock is wrong. The same as `consumers/deadline.py`. */

/** By how much the adapter's clock may move against this process's, at most: a share. */
const DRIFT = 0.01;
/** Milliseconds of waiting that need no explanation: `unread` is asked about longer ones only. */
const SHORT = 50;
/** Milliseconds between two looks whether the socket is empty. */
const LOOK_EACH = 50;
/** Looks after the last time that somebody wanted to know: a minute. */
const LOOKS = 1_200;

/**
 * Tells how long a request may still take, by this process's monotonic clock alone.
 *
 * The request says how much time was left when it was published, and by the adapter's clock when that was. It
 * has waited for as much longer than the fastest request so far as it was longer on the way; so the clocks of
 * the two machines may differ by anything.
 */
export class TimeLeft {
  #least = Infinity;
  #at = 0;
  #now;
  #unread;

  /**
   * @param {() => number} unread gives the milliseconds for which what has just been read may have lain in
   *   this process's socket, at most
   * @param {() => number} [now] a monotonic clock, in milliseconds
   */
  constructor(unread, now = () => performance.now()) {
    this.#unread = unread;
    this.#now = now;
  }

  /**
   * Return the milliseconds that a request has which has just come; none left: 0 or less.
   * @param {number} deadline epoch milliseconds by the adapter's clock
   * @param {number} left milliseconds that were left when it was published
   * @param {number} [lasts] milliseconds after which RabbitMQ hands its message out no more. In a message of several
   *   one may expire before that
   */
  of(deadline, left, lasts = left) {
    const now = this.#now();
    const way = now - (deadline - left); // and what the two clocks differ by, always the same
    let waited = way - this.#least;
    // RabbitMQ hands out nothing that is past its expiry: what is, and cannot have lain unread since, tells
    // that the adapter's clock was set. A process that cannot keep up must not take its own backlog for that.
    if (waited <= SHORT || this.#unread() < (waited >= lasts ? waited - lasts : waited)) {
      waited -= DRIFT * (now - this.#at);
      if (waited < 0 || waited >= lasts) waited = 0;
      this.#least = way - waited;
    }
    this.#at = now;
    return left - waited;
  }
}

/** Looks whether a connection's socket is read empty, for a minute after somebody wanted to know. */
export class Unread {
  #batches = 0;
  #emptyAt = -Infinity;
  #looks = 0;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;

  /** Take in that something was read. */
  batch() {
    this.#batches += 1;
  }

  /** Return the milliseconds since the socket was seen empty last; infinity if it never was. */
  milliseconds() {
    this.#looks = LOOKS;
    this.#timer ??= setInterval(() => this.#look(), LOOK_EACH).unref();
    return performance.now() - this.#emptyAt;
  }

  /** Look no more. */
  close() {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look() {
    if ((this.#looks -= 1) < 0) this.close();
    const [batches, at] = [this.#batches, performance.now()];
    // The second one runs after the loop has asked once more what can be read.
    setImmediate(() =>
      setImmediate(() => {
        if (batches === this.#batches) this.#emptyAt = at;
      }),
    );
  }
}
