// Runs on the audio thread: sound as it is, in pieces of 16 bits, while a take is recorded, and its level at all times.

const PIECE = 2048; // samples: 43 ms at 48 kHz

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.isRecording = false;
    this.restart();
    this.expected = null; // the frame with which the next call should begin
    this.gaps = 0; // how often sound was not handed to us
    this.port.onmessage = ({ data }) => {
      if (data === 'start') { this.restart(); this.isRecording = true; this.gaps = 0; }
      if (data === 'stop' && this.isRecording) { this.post(true); this.isRecording = false; }
    };
  }

  restart() {
    this.piece = new Int16Array(PIECE);
    this.filled = 0;
    this.peak = 0;
    this.power = 0;
  }

  post(isLast) {
    const level = { peak: this.peak, power: this.power / Math.max(this.filled, 1) };
    if (!this.isRecording) this.port.postMessage(level);
    else {
      const pcm = this.piece.slice(0, this.filled);
      this.port.postMessage({ ...level, pcm, gaps: this.gaps, isLast }, [pcm.buffer]);
    }
    this.restart();
  }

  process(inputs) {
    const input = inputs[0][0], count = input ? input.length : 128;
    if (this.expected !== null && currentFrame !== this.expected) this.gaps += 1;
    this.expected = currentFrame + count;
    for (let index = 0; index < count; index++) {
      const value = input ? input[index] : 0;
      this.piece[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
      this.peak = Math.max(this.peak, Math.abs(value));
      this.power += value * value;
      if (this.filled === PIECE) this.post(false);
    }
    return true;
  }
}

registerProcessor('recorder', Recorder);
