// The microphone as it hears: nothing that a browser does to make calls sound better, since a model is to hear what was said.

const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
const WAKING_MS = 1500;
const WISHES = { echoCancellation: 'echo cancelling', noiseSuppression: 'noise suppression', autoGainControl: 'gain control' };

/** The microphones that there are, named once the speaker has allowed one. */
export async function microphones() {
  const devices = await navigator.mediaDevices?.enumerateDevices() ?? [];
  return devices.filter(({ kind, deviceId }) => kind === 'audioinput' && deviceId);
}

export class Microphone {
  /**
   * Open a microphone; throws an `Error` with one line for the user.
   * `onlevel({ peak, power })` is called about twenty times a second, `onlost()` when it is unplugged or taken away.
   */
  static async open({ deviceId, onlevel = () => {}, onlost = () => {} } = {}) {
    if (!navigator.mediaDevices) throw new Error('Browsers give no microphone to a page that is neither on localhost nor encrypted (https).');
    const made = new Microphone();
    try {
      const wanted = { ...AS_IT_IS, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) };
      made.stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    } catch (error) {
      if (deviceId && error.name === 'OverconstrainedError') return Microphone.open({ onlevel, onlost });
      const reasons = { NotAllowedError: 'The browser was not allowed to use the microphone.', NotFoundError: 'There is no microphone.' };
      throw new Error(reasons[error.name] ?? `The microphone cannot be used: ${error.message}`);
    }
    const [track] = made.stream.getAudioTracks();
    const settings = track.getSettings();
    made.deviceId = settings.deviceId;
    made.changes = Object.keys(WISHES).filter(wish => settings[wish] === true).map(wish => WISHES[wish]);
    made.context = new AudioContext();
    made.rate = made.context.sampleRate;
    await made.context.audioWorklet.addModule('static/recorder_worklet.js');
    await made.context.resume();
    made.node = new AudioWorkletNode(made.context, 'recorder', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
    made.context.createMediaStreamSource(made.stream).connect(made.node);
    // Some devices begin with nothing at all: a take that began then would lack its first word. One that is muted goes on with nothing.
    let isAwake;
    const awake = new Promise(resolve => { isAwake = resolve; });
    made.node.port.onmessage = ({ data }) => {
      if (data.peak > 0) isAwake();
      onlevel(data);
      if (data.pcm) made.onpiece?.(data);
    };
    track.addEventListener('ended', () => { made.stop(); onlost(); });
    await Promise.race([awake, new Promise(resolve => setTimeout(resolve, WAKING_MS))]);
    return made;
  }

  /** Begin a take: `onpiece({ pcm, gaps, isLast })` is called with each piece, an Int16Array at `rate`, until `stop` has brought the last. */
  start(onpiece) {
    this.onpiece = onpiece;
    this.node.port.postMessage('start');
  }

  stop() {
    this.node.port.postMessage('stop');
  }

  close() {
    this.stream.getTracks().forEach(track => track.stop());
    this.context.close();
  }
}
