/** Something that ends once. */
export class End {
  /** @type {string | undefined} Why it ended; undefined until then. */
  reason;
  /** @type {() => void} */
  #end = () => {};

  constructor() {
    /** @type {Promise<void>} Fulfilled when it has ended. */
    this.happened = new Promise((resolve) => (this.#end = resolve));
  }

  /**
   * End it. The first reason counts.
   * @param {string} reason
   */
  because(reason) {
    this.reason ??= reason;
    this.#end();
  }

  /**
   * Return after so many milliseconds, or when it has ended.
   * @param {number} milliseconds
   */
  async within(milliseconds) {
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    const over = new Promise((resolve) => (timer = setTimeout(resolve, milliseconds)));
    await Promise.race([this.happened, over]);
    clearTimeout(timer);
  }
}

/** The reason of those that were told to. */
export const STOPPED = 'stopped';
