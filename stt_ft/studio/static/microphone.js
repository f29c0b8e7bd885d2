// The microphone as it hears: nothing that a browser does to make calls sound better, since a model is to hear what was said.
//
// Where a browser lets a page read a track (Chrome, Edge), that is done. The way through an audio graph, which the others have, is bound to
// the loudspeaker's clock too: where the two clocks differ, or the machine is busy, the graph puts in 10 ms of silence now and then.

const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
const WISHES = { echoCancellation: 'echo cancelling', noiseSuppression: 'noise suppression', autoGainControl: 'gain control' };
const WAKING_MS = 1500;
const LATE_MS = 1500, SOONEST_S = 30;
const LEVEL_S = 0.05;
const QUEUE = 1000; // blocks of 10 ms that wait for a page that is busy

/** The microphones that there are, named once the speaker has allowed one. */
export async function microphones() {
  const devices = await navigator.mediaDevices?.enumerateDevices() ?? [];
  return devices.filter(({ kind, deviceId }) => kind === 'audioinput' && deviceId);
}

export class Microphone {
  /**
   * Open a microphone; throws an `Error` with one line for the user.
   * `onlevel({ peak, power })` is called twenty times a second, `onlost()` when it is unplugged or taken away.
   */
  static async open({ deviceId, onlevel = () => {}, onlost = () => {} } = {}) {
    if (!navigator.mediaDevices) throw new Error('Browsers give no microphone to a page that is neither on localhost nor encrypted (https).');
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { ...AS_IT_IS, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) } });
    } catch (error) {
      if (deviceId && error.name === 'OverconstrainedError') return Microphone.open({ onlevel, onlost });
      const reasons = { NotAllowedError: 'The browser was not allowed to use the microphone.', NotFoundError: 'There is no microphone.' };
      throw new Error(reasons[error.name] ?? `The microphone cannot be used: ${error.message}`);
    }
    const made = new Microphone(stream, onlevel);
    made.track.addEventListener('ended', () => { made.#end(); onlost(); });
    if (window.MediaStreamTrackProcessor) made.#readTrack();
    else await made.#readGraph();
    // Some devices begin with nothing at all: a take that began then would lack its first word. One that is muted goes on with nothing.
    await Promise.race([made.awake, new Promise(resolve => setTimeout(resolve, WAKING_MS))]);
    if (!made.rate) throw new Error('The microphone gives no sound at all.');
    return made;
  }

  constructor(stream, onlevel) {
    [this.track] = stream.getAudioTracks();
    this.stream = stream;
    this.onlevel = onlevel;
    const settings = this.track.getSettings();
    this.deviceId = settings.deviceId;
    this.changes = Object.keys(WISHES).filter(wish => settings[wish] === true).map(wish => WISHES[wish]);
    this.awake = new Promise(resolve => { this.isAwake = resolve; });
    this.level = { peak: 0, power: 0, count: 0 };
    this.total = 0; // samples so far
    this.soonest = new Map(); // second -> by how many ms the block came late that came soonest
    this.gaps = 0;
  }

  /** Begin: `onpiece({ pcm, gaps, isLast })` is called with each piece, an Int16Array at `rate`, until `stop` has brought the last. */
  start(onpiece) {
    this.onpiece = onpiece;
    this.begunAt = performance.now();
    this.stoppedAt = null;
    this.hasBegun = false;
    this.gapsBefore = this.gaps;
  }

  /** End: what was said until now is still on its way. */
  stop() {
    const { onpiece } = this;
    this.stoppedAt = performance.now();
    setTimeout(() => { if (this.onpiece === onpiece) this.#end(); }, LATE_MS); // a device that gives nothing any more
  }

  close() {
    this.onlevel = () => {};
    this.stream.getTracks().forEach(track => track.stop());
    this.context?.close();
  }

  /** It is gone: what has come is all. */
  #end() {
    const { onpiece } = this;
    this.onpiece = null;
    onpiece?.({ pcm: new Int16Array(0), gaps: this.gaps - this.gapsBefore, isLast: true });
  }

  async #readTrack() {
    const reader = new MediaStreamTrackProcessor({ track: this.track, maxBufferSize: QUEUE }).readable.getReader();
    for (;;) {
      const { value: sound, done } = await reader.read();
      if (done) return;
      const channels = Array.from({ length: sound.numberOfChannels }, (_, planeIndex) => {
        const samples = new Float32Array(sound.numberOfFrames);
        sound.copyTo(samples, { planeIndex, format: 'f32-planar' });
        return samples;
      });
      this.rate = sound.sampleRate;
      sound.close();
      this.#take(channels.length === 1 ? channels[0] : channels[0].map((_, index) => channels.reduce((sum, samples) => sum + samples[index], 0) / channels.length));
    }
  }

  async #readGraph() {
    this.context = new AudioContext();
    this.rate = this.context.sampleRate;
    await this.context.audioWorklet.addModule('static/recorder_worklet.js');
    await this.context.resume();
    const node = new AudioWorkletNode(this.context, 'recorder', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
    node.port.onmessage = ({ data }) => { this.gaps = data.gaps; this.#take(data.block); };
    this.context.createMediaStreamSource(this.stream).connect(node);
  }

  #take(samples) {
    const { level } = this;
    for (const value of samples) {
      level.peak = Math.max(level.peak, Math.abs(value));
      level.power += value * value;
    }
    level.count += samples.length;
    if (level.peak > 0) this.isAwake();
    if (level.count >= LEVEL_S * this.rate) {
      this.level = { peak: 0, power: 0, count: 0 };
      this.onlevel({ peak: level.peak, power: level.power / level.count });
    }
    this.#record(samples, this.#beginOf(samples));
  }

  /** When the sound of a block began, by the page's clock. A block comes late by what was in its way: the one of the last half minute that
      came soonest says how the clock of the microphone, which counts samples, stands to the page's. */
  #beginOf(samples) {
    const now = performance.now(), begin = this.total / this.rate * 1000;
    this.total += samples.length;
    const second = Math.floor(now / 1000), late = now - this.total / this.rate * 1000;
    this.soonest.set(second, Math.min(late, this.soonest.get(second) ?? Infinity));
    for (const past of this.soonest.keys()) if (past < second - SOONEST_S) this.soonest.delete(past);
    return begin + Math.min(...this.soonest.values());
  }

  /** Hand on what of a block lies between start and stop. */
  #record(samples, begin) {
    if (!this.onpiece) return;
    const indexAt = time => Math.max(0, Math.min(samples.length, Math.round((time - begin) * this.rate / 1000)));
    const from = this.hasBegun ? 0 : indexAt(this.begunAt), to = this.stoppedAt === null ? samples.length : indexAt(this.stoppedAt);
    if (from === samples.length) return; // from before the start
    this.hasBegun = true;
    const isLast = to < samples.length;
    const pcm = Int16Array.from(samples.subarray(from, Math.max(from, to)), value => Math.max(-32768, Math.min(32767, Math.round(value * 32768))));
    const { onpiece } = this;
    if (isLast) this.onpiece = null;
    onpiece({ pcm, gaps: this.gaps - this.gapsBefore, isLast });
  }
}
