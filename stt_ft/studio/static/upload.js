// A take on its way to the studio. All of it stays here until the speaker has decided; the server says how much of it is on its disk, and a
// connection that is lost is made anew and goes on from there. studio/recording.py has what the two say to each other.

const PIECE = 32768; // samples a message at most
const BUFFERED_BYTES = 1_000_000; // sent and not yet on its way
const SILENCE_MS = 6000; // a server that owes an answer and says nothing for so long is gone
const RETRY_MS = [300, 700, 1500, 3000];

export class Upload {
  /** `onconnection(isUp)`, `onchecked(take)` with what the server found, `onerror(line)`, `onelsewhere()`: the page is open in another tab. */
  constructor({ onconnection, onchecked, onerror, onelsewhere }) {
    Object.assign(this, { onconnection, onchecked, onerror, onelsewhere, take: null, tries: 0, isClosed: false });
    this.address = new URL('api/record/socket', location.href);
    this.address.protocol = this.address.protocol.replace('http', 'ws');
    this.address.hash = '';
    this.watch = setInterval(() => this.#watch(), 1000);
    this.#connect();
  }

  /** Begin a take of a prompt, in place of the one before. */
  begin(prompt, rate) {
    this.take = { prompt, rate, sound: new Int16Array(rate * 16), length: 0, sent: 0, have: 0, id: null, gaps: 0, isEnded: false, isChecked: false };
    this.#greet();
  }

  /** Add sound. */
  push(pcm, gaps) {
    const { take } = this;
    if (take.length + pcm.length > take.sound.length) {
      const larger = new Int16Array(2 * take.sound.length);
      larger.set(take.sound);
      take.sound = larger;
    }
    take.sound.set(pcm, take.length);
    take.length += pcm.length;
    take.gaps = gaps;
    this.#send();
  }

  /** That was all of it; `onchecked` comes when the server has it. */
  end() {
    this.take.isEnded = true;
    this.#send();
  }

  forget() { this.take = null; }

  close() {
    this.isClosed = true;
    clearInterval(this.watch);
    this.socket.close();
  }

  #connect() {
    const socket = new WebSocket(this.address);
    this.socket = socket;
    this.isUp = false;
    this.heard = performance.now();
    socket.onopen = () => {
      this.isUp = true;
      this.tries = 0;
      this.heard = performance.now();
      this.onconnection(true);
      this.#greet();
    };
    socket.onmessage = ({ data }) => { if (socket === this.socket) this.#hear(JSON.parse(data)); };
    socket.onclose = ({ code }) => {
      if (socket !== this.socket || this.isClosed) return;
      if (code === 4001) { this.close(); this.onelsewhere(); } else this.#again();
    };
  }

  #again() {
    this.isUp = false;
    this.socket.onclose = null;
    this.socket.close();
    this.onconnection(false);
    setTimeout(() => this.#connect(), RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)]);
  }

  #greet() {
    const { take } = this;
    if (!this.isUp || !take || take.isChecked) return;
    take.isKnown = false; // on this connection
    this.#say(take.id ? { resume: take.id } : { begin: take.prompt, rate_hz: take.rate });
  }

  #say(value) { this.socket.send(JSON.stringify(value)); }

  #send() {
    const { take } = this;
    if (!this.isUp || !take?.isKnown) return;
    while (take.sent < take.length && this.socket.bufferedAmount < BUFFERED_BYTES) {
      const piece = take.sound.subarray(take.sent, Math.min(take.sent + PIECE, take.length));
      const message = new Uint8Array(4 + piece.byteLength);
      new DataView(message.buffer).setUint32(0, take.sent, true);
      message.set(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength), 4);
      this.socket.send(message);
      take.sent += piece.length;
    }
    if (take.isEnded && take.sent === take.length && !take.isAsked) {
      take.isAsked = true;
      this.#say({ end: take.length, gaps: take.gaps });
    }
  }

  #hear(told) {
    const { take } = this;
    this.heard = performance.now();
    if (told.error) {
      this.onerror(told.error);
      setTimeout(() => this.#goBack(take), 2000);
    }
    if (!take || take.isChecked) return;
    if (told.lost && told.lost === take.id) { take.id = null; this.#greet(); }
    if (told.take) {
      take.id = told.take;
      take.isKnown = true;
      take.have = told.have;
      this.#goBack(take);
    } else if (told.gap) {
      if (take.have !== told.have || take.sent === take.length) { take.have = told.have; this.#goBack(take); }
    } else if ('have' in told) {
      take.have = told.have;
      this.#send();
    } else if (told.checked && told.checked === take.id) {
      take.isChecked = true;
      this.onchecked({ ...told, take: take.id });
    }
  }

  /** Send again from where the server has sound. */
  #goBack(take) {
    if (take !== this.take || !take) return;
    take.sent = take.have;
    take.isAsked = false;
    this.#send();
  }

  #watch() {
    const { take } = this;
    const isOwed = take && !take.isChecked && (take.have < take.length || take.isEnded);
    if (!this.isUp || !isOwed) { if (this.isUp) this.heard = Math.max(this.heard, performance.now() - SILENCE_MS / 2); }
    else if (performance.now() - this.heard > SILENCE_MS) this.#again();
  }
}
