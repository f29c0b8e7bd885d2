// The owner's tab Try out: speak, and see the words and pauses that a server would send, and hear where each model would have ended the turn.
// studio/trying.py has what the socket says.

import { card, redraw, unload } from './clip_cards.js';
import { Microphone } from './microphone.js';
import { element } from './element.js';
import { announce, ask, isForControl } from './studio.js';
import { drawTimeline } from './timeline.js';

const SHOWN_S = 10; // a stream is drawn on so wide a time line until it is longer
const PEAKS_PER_S = 100;
const BEHIND_S = 1.5; // so late, it is said
const TONES_HZ = { ours: 660, theirs: 440 };

let state, panel, stream = null, tones = null;
const at = {};

export async function open(into) {
  panel = into;
  try {
    state = await ask('GET', 'api/try');
  } catch (error) {
    panel.replaceChildren(element('p', { class: 'panel alarm', role: 'alert' }, error.message));
    return;
  }
  if (!state.models.length) {
    panel.replaceChildren(element('p', { class: 'panel' }, 'No model to try out: start the studio with ', element('code', {}, '--model DIR'), ', and ', element('code', {}, '--against DIR'), ' for a second one beside it.'));
    return;
  }
  at.button = element('button', { type: 'button', class: 'main', onclick: () => (stream ? stop() : start()) });
  at.tone = element('input', { type: 'checkbox', id: 'tone', checked: true });
  at.status = element('p', { class: 'dim grow', role: 'status' });
  at.message = element('p', { class: 'alarm', role: 'alert' });
  at.models = element('div', { class: 'models' }, ...state.models.map(modelPanel));
  at.stream = element('div', { class: 'stream' });
  panel.replaceChildren(element('h1', { class: 'hidden' }, 'Try out'),
    element('div', { class: 'row try-row' }, at.button, element('label', { class: 'tone' }, at.tone, ' a tone where a turn ends'), at.status), at.message, at.models, at.stream);
  showButton();
  document.addEventListener('keydown', event => {
    if (!panel.offsetParent || event.defaultPrevented || event.key !== ' ' || isForControl(event)) return;
    event.preventDefault();
    at.button.click();
  });
}

export const hidden = () => { if (stream) stop(); };

function modelPanel({ name, label, role }) {
  const bars = state.horizons_s.map(seconds => {
    const bar = element('span', { class: 'bar' }), value = element('span', { class: 'value' }, '–');
    const meter = element('div', { class: 'level', role: 'meter', 'aria-label': `${name}: probability of a pause within ${seconds} s`, 'aria-valuemin': 0, 'aria-valuemax': 1, 'aria-valuenow': 0 }, bar);
    return { bar, value, meter, row: element('div', { class: 'pause-bar' }, element('span', { class: 'dim' }, `${seconds} s`), meter, value) };
  });
  const words = element('p', { class: 'words' }), ends = element('p', { class: 'ends dim' });
  const section = element('section', { class: `panel ${role}`, 'aria-label': `${name}, ${label}` }, element('h2', {}, name, ' ', element('span', { class: 'dim' }, label)), words, element('div', { class: 'pause-bars' }, ...bars.map(({ row }) => row)), ends);
  return Object.assign(section, { bars, words, ends });
}

function showButton() {
  const key = element('kbd', {}, 'Space');
  at.button.replaceChildren(stream ? (stream.isReady ? 'Stop ' : 'Wait …') : 'Speak ', ...(stream && !stream.isReady ? [] : [key]));
}

// ---- a stream

async function start() {
  at.message.textContent = '';
  const mine = { isReady: false, sent: 0, heard: 0, pcm: [], peaks: [] };
  stream = mine;
  showButton();
  tones ??= new AudioContext();
  tones.resume();
  try {
    mine.microphone = await Microphone.open({ onlost: () => { tell('The microphone is gone.'); if (stream === mine) stop(); } });
  } catch (error) { end(mine, error.message); return; }
  if (stream !== mine) { mine.microphone.close(); return; }
  mine.clip = {
    clip: 'what you said', duration: 0, viewEnd: SHOWN_S, peaks: [], spans: [], reference: [], speechEnd: null,
    models: Object.fromEntries(state.models.map(({ label }) => [label, { words: [], pause: [], ended: [], cutOff: null }])),
  };
  mine.card = card(mine.clip, 0, {
    said: element('div', { class: 'said' }, element('p', { class: 'meta' }, 'What came in, and when')), aside: null, description: 'What you said, on a time line',
    draw: made => drawTimeline(made.canvas, mine.clip, { roles: Object.fromEntries(state.models.map(({ label, role }) => [label, role])), rule: state.rule }),
    sound: () => mine.url,
  });
  mine.card.play.disabled = true;
  at.stream.replaceChildren(mine.card);
  for (const one of at.models.children) {
    one.words.textContent = one.ends.textContent = '';
    showPause(one, []);
  }
  tell('The model is being loaded …');
  const address = new URL('api/try/socket', location.href);
  address.protocol = address.protocol.replace('http', 'ws');
  address.hash = '';
  mine.socket = new WebSocket(address);
  mine.socket.binaryType = 'arraybuffer';
  mine.socket.onopen = () => mine.socket.send(JSON.stringify({ rate_hz: mine.microphone.rate }));
  mine.socket.onmessage = ({ data }) => hear(mine, JSON.parse(data));
  mine.socket.onclose = () => end(mine, mine.isDone || mine.isStopped ? '' : 'The studio has closed the connection.');
}

function hear(mine, told) {
  if (told.error) { end(mine, told.error); return; }
  if (told.ready) {
    mine.isReady = true;
    showButton();
    tell('Speak.');
    announce('Speak.');
    mine.microphone.start(({ pcm, isLast }) => send(mine, pcm, isLast));
    return;
  }
  if (told.done) {
    mine.isDone = true;
    mine.socket.close();
    return;
  }
  const { name, label, role } = state.models[told.model], model = mine.clip.models[label], shown = at.models.children[told.model];
  for (const frame of told.frames) {
    for (const [text, , , appeared] of frame.words) {
      model.words.push([text, appeared, true]);
      shown.words.append(`${text} `);
    }
    frame.pause.forEach((level, head) => (model.pause[head] ??= []).push(level));
    mine.heard = Math.max(mine.heard, frame.heard_s);
    if (frame.ended) endOfTurn(model, shown, name, role, frame.heard_s);
    showPause(shown, frame.pause);
  }
  paint(mine);
}

function endOfTurn(model, shown, name, role, time) {
  model.ended.push(time);
  shown.ends.textContent = `ends the turn at ${model.ended.map(one => `${one.toFixed(2)} s`).join(', ')}`;
  shown.classList.add('ended');
  setTimeout(() => shown.classList.remove('ended'), 500);
  announce(`${name} ends the turn`);
  if (!at.tone.checked) return;
  const tone = new OscillatorNode(tones, { frequency: TONES_HZ[role] }), volume = new GainNode(tones, { gain: 0 });
  const now = tones.currentTime;
  volume.gain.setValueAtTime(0, now);
  volume.gain.linearRampToValueAtTime(0.12, now + 0.01);
  volume.gain.linearRampToValueAtTime(0, now + 0.16);
  tone.connect(volume).connect(tones.destination);
  tone.start(now);
  tone.stop(now + 0.17);
}

function showPause(shown, levels) {
  shown.bars.forEach(({ bar, value, meter }, head) => {
    const level = levels[head];
    value.textContent = level === undefined ? '–' : level.toFixed(2);
    bar.style.transform = `scaleX(${level ?? 0})`;
    bar.classList.toggle('high', level > state.rule.threshold);
    meter.setAttribute('aria-valuenow', (level ?? 0).toFixed(2));
  });
}

function send(mine, pcm, isLast) {
  const { socket, microphone: { rate } } = mine;
  mine.pcm.push(pcm);
  const step = rate / PEAKS_PER_S, begun = mine.sent;
  pcm.forEach((sample, index) => {
    const place = Math.floor((begun + index) / step);
    mine.peaks[place] = Math.max(mine.peaks[place] ?? 0, Math.abs(sample));
  });
  mine.sent += pcm.length;
  mine.clip.duration = mine.sent / rate;
  if (socket.readyState === WebSocket.OPEN) {
    socket.send(pcm);
    if (isLast) socket.send(JSON.stringify({ end: true }));
  }
  const behind = mine.clip.duration - mine.heard;
  if (!isLast) tell(behind > BEHIND_S ? `${behind.toFixed(1)} s behind: this machine is slower than ${state.models.length > 1 ? 'these models need' : 'this model needs'}.` : `${mine.clip.duration.toFixed(1)} s`);
  if (mine.clip.duration > state.max_s - 1 && !mine.isStopped) stop();
  paint(mine);
}

function paint(mine) {
  if (mine.isPainting) return;
  mine.isPainting = true;
  requestAnimationFrame(() => {
    mine.isPainting = false;
    const { clip, peaks } = mine, loudest = peaks.reduce((most, peak) => Math.max(most, peak), 3000);
    clip.peaks = peaks.map(peak => 100 * peak / loudest);
    clip.viewEnd = Math.max(SHOWN_S, clip.duration, mine.heard);
    redraw(mine.card);
  });
}

function stop() {
  const mine = stream;
  if (!mine.isReady) { end(mine, ''); return; }
  mine.isStopped = true;
  mine.microphone.stop();
  tell('The last words …');
}

/** The stream is over, with a word to the user where it did not end as it should. */
function end(mine, line) {
  if (stream !== mine) return;
  stream = null;
  mine.microphone?.close();
  if (mine.socket) mine.socket.onclose = null, mine.socket.close();
  at.message.textContent = line;
  tell('');
  showButton();
  if (!mine.sent) return;
  if (mine.card) unload(mine.card);
  mine.url = URL.createObjectURL(wav(mine.pcm, mine.microphone.rate));
  mine.card.play.disabled = false;
  mine.card.timeline.setAttribute('aria-valuemax', mine.clip.duration.toFixed(2));
  const texts = state.models.map(({ name, label }) => `${name}: ${mine.clip.models[label].words.map(([text]) => text).join(' ') || 'no words'}`);
  mine.card.canvas.setAttribute('aria-label', texts.join('. '));
  announce(texts.join('. '));
}

/** The samples as a WAV file, to be played again. */
function wav(pieces, rate) {
  const length = 2 * pieces.reduce((sum, piece) => sum + piece.length, 0), header = new DataView(new ArrayBuffer(44));
  const text = (place, letters) => [...letters].forEach((letter, index) => header.setUint8(place + index, letter.charCodeAt(0)));
  text(0, 'RIFF'); header.setUint32(4, 36 + length, true); text(8, 'WAVEfmt ');
  header.setUint32(16, 16, true); header.setUint16(20, 1, true); header.setUint16(22, 1, true);
  header.setUint32(24, rate, true); header.setUint32(28, 2 * rate, true); header.setUint16(32, 2, true); header.setUint16(34, 16, true);
  text(36, 'data'); header.setUint32(40, length, true);
  return new Blob([header, ...pieces], { type: 'audio/wav' });
}

function tell(line) { at.status.textContent = line; }
