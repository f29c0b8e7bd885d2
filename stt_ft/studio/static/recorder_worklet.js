// Runs on the audio thread where a browser gives no track to read: hands sound on as it comes, and how often some of it did not come.

const BLOCK = 512; // samples: 11 ms at 48 kHz

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.filled = 0;
    this.gaps = 0;
    this.expected = null; // the frame with which the next call should begin
  }

  process(inputs) {
    const input = inputs[0][0], count = input ? input.length : 128;
    if (this.expected !== null && currentFrame !== this.expected) this.gaps += 1;
    this.expected = currentFrame + count;
    for (let index = 0; index < count; index++) {
      this.block[this.filled++] = input ? input[index] : 0;
      if (this.filled === BLOCK) {
        const block = this.block.slice();
        this.port.postMessage({ block, gaps: this.gaps }, [block.buffer]);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor('recorder', Recorder);
