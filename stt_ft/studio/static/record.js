// A speaker's page: consent, then one prompt after the other. The keys: space starts and stops; Enter keeps, R retakes, P plays, S skips, B goes back.

import { element } from './element.js';
import { announce, ask, isForControl } from './studio.js';
import { Microphone, microphones } from './microphone.js';
import { Upload } from './upload.js';

const FLOOR_DB = -60;
const QUIET_AFTER_MS = 1500; // of a take, before it is called too quiet
const KEEP_AGAIN_MS = 1500;

let panel, state, upload, microphone;
let phase = 'begin'; // begin, ready, recording, sending, review, keeping, done
let current = 0, take = null, begun = 0, loudest = 0, isUp = true;
const at = {}; // the elements that change

export async function open(into) {
  panel = into;
  await refresh();
}

async function refresh() {
  try {
    state = await ask('GET', 'api/record');
  } catch (error) {
    panel.replaceChildren(element('p', { class: 'panel alarm', role: 'alert' }, error.message));
    return;
  }
  if (!state.agreed) showConsent();
  else if (!state.prompts.length) panel.replaceChildren(element('p', { class: 'panel' }, 'There are no prompts to read yet.'));
  else if (!microphone) showBegin();
  else showPrompts();
}

// ---- before the first prompt

function showConsent() {
  const field = (name, text) => [element('label', { for: name }, text), element('input', { id: name, name, maxlength: 200, autocomplete: 'off' })];
  const problem = element('p', { class: 'alarm', role: 'alert' });
  const form = element('form', { class: 'panel consent', onsubmit: async event => {
    event.preventDefault();
    try {
      await ask('POST', 'api/record/agree', { text: state.consent, ...Object.fromEntries(new FormData(form)) });
      await refresh();
      if (!microphone) await begin();
    } catch (error) { problem.textContent = error.message; }
  } },
    element('h2', {}, 'What you agree to'), element('p', { lang: state.consent_language, class: 'agreement' }, state.consent),
    element('h2', {}, 'About the sound ', element('span', { class: 'dim' }, 'may stay empty')),
    element('div', { class: 'fields' }, ...field('microphone', 'Microphone (headset, telephone …)'), ...field('room', 'Room (kitchen, car …)'), ...field('accent', 'Accent')),
    element('button', { class: 'main', type: 'submit' }, 'I agree, begin'), problem);
  panel.replaceChildren(element('h1', { tabindex: -1 }, `Hello, ${state.speaker}`), form);
  panel.querySelector('h1').focus();
}

function showBegin(problem = '') {
  const left = state.prompts.filter(({ done }) => !done).length, total = state.prompts.length;
  const button = element('button', { class: 'main', type: 'button', onclick: begin }, 'Use the microphone');
  panel.replaceChildren(element('h1', {}, `Hello, ${state.speaker}`),
    element('div', { class: 'panel' },
      element('p', {}, left === total ? `${total} prompts to read.` : left ? `${left} of ${total} prompts are left.` : `All ${total} prompts are read. Thank you!`),
      element('p', { class: 'note' }, 'Speak as you would on the telephone. The browser asks whether this page may use the microphone.'),
      element('p', { class: 'actions' }, button), element('p', { class: 'alarm', role: 'alert' }, problem)));
  button.focus();
}

async function begin() {
  try {
    await openMicrophone(remembered());
  } catch (error) {
    showBegin(error.message);
    return;
  }
  upload = new Upload({ onconnection, onchecked, onerror: tell, onelsewhere });
  showPrompts();
}

async function openMicrophone(deviceId) {
  const next = await Microphone.open({ deviceId, onlevel: showLevel, onlost });
  microphone?.close();
  microphone = next;
  try { localStorage.setItem('microphone', microphone.deviceId); } catch { /* asked again next time */ }
}

const remembered = () => { try { return localStorage.getItem('microphone'); } catch { return null; } };

// ---- the prompts

function showPrompts() {
  at.count = element('span', { class: 'dim', id: 'count' });
  at.progress = element('progress', { max: state.prompts.length, 'aria-labelledby': 'count' });
  at.devices = element('select', { 'aria-label': 'Microphone', onchange: chooseMicrophone });
  at.connection = element('p', { class: 'chip alarm', role: 'status', hidden: true });
  at.name = element('p', { class: 'dim prompt-name' });
  at.say = element('p', { class: 'say', lang: state.language });
  at.direction = element('p', { class: 'direction', lang: state.language });
  at.card = element('div', { class: 'panel prompt', tabindex: -1, role: 'group', 'aria-label': 'Prompt' }, at.name, at.say, at.direction);
  at.bar = element('span', { class: 'bar' });
  at.meter = element('div', { class: 'level', role: 'meter', 'aria-label': 'Level in decibels', 'aria-valuemin': FLOOR_DB, 'aria-valuemax': 0, 'aria-valuenow': FLOOR_DB }, at.bar);
  at.clock = element('span', { class: 'clock' });
  at.loudness = element('span', { class: 'chip', id: 'loudness' });
  at.actions = element('div', { class: 'actions', role: 'group', 'aria-label': 'What to do' });
  at.message = element('ul', { class: 'messages' });
  at.audio = element('audio', { onended: showActions, onpause: showActions, onplay: showActions });
  panel.replaceChildren(element('h1', { class: 'hidden' }, 'Record'),
    element('div', { class: 'row studio-row' }, element('strong', {}, state.speaker), at.progress, at.count, element('span', { class: 'grow' }), at.devices),
    at.card, element('div', { class: 'row level-row' }, at.clock, at.meter, at.loudness), at.connection, at.message, at.actions, at.audio);
  document.removeEventListener('keydown', onkey);
  document.addEventListener('keydown', onkey);
  window.onbeforeunload = event => { if (['recording', 'sending'].includes(phase)) event.preventDefault(); };
  listMicrophones();
  const open = state.open && state.prompts.findIndex(({ id }) => id === state.open.prompt);
  if (state.open && open >= 0) takeUp(open);
  else goTo(nextMissing(-1));
}

async function listMicrophones() {
  const devices = await microphones();
  at.devices.replaceChildren(...devices.map(({ deviceId, label }, index) =>
    element('option', { value: deviceId, selected: deviceId === microphone.deviceId }, label || `Microphone ${index + 1}`)));
  if (microphone.changes.length) tell(`This browser does not switch off ${microphone.changes.join(' and ')}: another one may.`);
}

async function chooseMicrophone() {
  try { await openMicrophone(at.devices.value); } catch (error) { tell(error.message); }
  await listMicrophones();
  at.card.focus();
}

/** The index of the first prompt after `index` that is still to be read, or -1. */
function nextMissing(index) {
  const order = state.prompts.map((_, step) => (index + 1 + step) % state.prompts.length);
  return order.find(place => !state.prompts[place].done) ?? -1;
}

function goTo(index) {
  take = null;
  upload.forget();
  at.audio.pause();
  at.audio.removeAttribute('src');
  at.clock.textContent = at.loudness.textContent = '';
  if (index < 0) { setPhase('done'); showDone(); return; }
  current = index;
  setPhase('ready');
  const { say, direction, id, done } = state.prompts[index];
  at.name.textContent = `${index + 1} of ${state.prompts.length} · ${id}${done ? ' · read already' : ''}`;
  at.say.replaceChildren(...withPauses(say));
  at.say.classList.toggle('long', say.length > 60);
  at.direction.textContent = direction;
  at.direction.hidden = !direction;
  at.card.focus({ preventScroll: true });
  showProgress();
  announce(`Prompt ${index + 1}: ${say.replaceAll('…', ', pause,')}. ${direction}`);
}

/** The text with every … as a sign that says "pause". */
function withPauses(text) {
  return text.split('…').flatMap((part, index) =>
    index ? [element('span', { class: 'pause', lang: 'en' }, 'pause'), part] : [part]);
}

function showDone() {
  showProgress();
  at.name.textContent = '';
  at.say.replaceChildren('All prompts are read. Thank you!');
  at.say.classList.add('long');
  at.direction.textContent = 'B goes back, to hear or read one again.';
  at.direction.hidden = false;
  clearMessages();
  showActions();
  announce('All prompts are read. Thank you!');
  at.card.focus();
}

function showProgress() {
  const done = state.prompts.filter(prompt => prompt.done).length;
  at.progress.value = done;
  at.count.textContent = `${done} of ${state.prompts.length} read`;
}

/** A take that was open when the page was closed: heard and decided now. */
async function takeUp(index) {
  const { take: id, duration_s: duration } = state.open;
  state.open = null;
  goTo(index);
  try {
    const found = await ask('POST', 'api/record/check', { take: id });
    await onchecked({ take: id, ...found, warnings: [`The page was left before this take of ${duration.toFixed(1)} s was kept. Play it: is it whole?`, ...found.warnings] });
  } catch (error) { tell(error.message); }
}

// ---- one take

function setPhase(next) {
  phase = next;
  panel.dataset.phase = next;
  at.devices.disabled = ['recording', 'sending', 'keeping'].includes(next);
  if (next === 'ready' || next === 'recording') clearMessages();
  showActions();
}

function start() {
  at.audio.pause();
  take = null;
  loudest = 0;
  begun = performance.now();
  upload.begin(state.prompts[current].id, microphone.rate);
  setPhase('recording');
  microphone.start(({ pcm, gaps, isLast }) => {
    upload.push(pcm, gaps);
    if (isLast) upload.end();
    else if (upload.take.length > (state.max_take_s - 1) * microphone.rate && phase === 'recording') stop();
  });
}

function stop() {
  microphone.stop();
  setPhase('sending');
  if (!isUp) onconnection(false);
}

async function onchecked(found) {
  take = found;
  setPhase('review');
  at.clock.textContent = `${found.duration_s.toFixed(1)} s`;
  at.loudness.textContent = '';
  at.loudness.className = 'chip';
  at.message.replaceChildren(...(found.warnings.length ? found.warnings.map(line => element('li', { class: 'warn' }, line)) : [element('li', { class: 'good' }, 'No fault found.')]));
  announce(found.warnings.length ? `Take of ${found.duration_s.toFixed(1)} seconds: ${found.warnings.join('; ')}` : 'Take recorded, no fault found. Enter keeps it.');
}

async function keep() {
  const { take: id } = take, prompt = state.prompts[current];
  setPhase('keeping');
  for (;;) {
    try {
      await ask('POST', 'api/record/keep', { take: id });
      break;
    } catch (error) {
      if (error.status === 404) { // kept, perhaps, by a request whose answer was lost
        const now = await ask('GET', 'api/record').catch(() => null);
        if (now?.prompts[current].done) break;
      }
      tell(error.status ? error.message : `${error.message} The take is kept as soon as it does.`);
      if (error.status) { setPhase('review'); tell(error.message); return; }
      await new Promise(resolve => setTimeout(resolve, KEEP_AGAIN_MS));
    }
  }
  prompt.done = true;
  announce('Kept');
  goTo(nextMissing(current));
}

async function drop() {
  const old = take;
  goTo(current);
  if (old) await ask('POST', 'api/record/drop', { take: old.take }).catch(() => {}); // the next take drops it, too
}

function play() {
  if (!at.audio.paused) { at.audio.pause(); return; }
  const address = phase === 'review' ? `api/record/open.wav?take=${take.take}` : `api/record/kept/${encodeURIComponent(state.prompts[current].id)}`;
  at.audio.src = address;
  at.audio.play().catch(() => tell('It cannot be played.'));
}

async function move(index) {
  if (phase === 'review') await drop();
  goTo(index);
}

const skip = () => move(phase === 'done' ? -1 : nextUnlike(current));
const back = () => move(phase === 'done' ? state.prompts.length - 1 : Math.max(current - 1, 0));
const nextUnlike = index => { const next = nextMissing(index); return next === index ? (index + 1) % state.prompts.length : next < 0 ? index + 1 < state.prompts.length ? index + 1 : -1 : next; };

// ---- what can be done, by button and by key

function choices() {
  const isPlaying = at.audio && !at.audio.paused;
  const playing = { key: 'p', show: 'P', text: isPlaying ? 'Stop' : 'Play', do: play };
  if (phase === 'recording') return [{ key: ' ', show: 'Space', text: 'Stop', do: stop, main: true }];
  if (phase === 'ready') return [
    { key: ' ', show: 'Space', text: 'Record', do: start, main: true },
    ...(state.prompts[current].done ? [playing] : []),
    { key: 's', show: 'S', text: 'Skip', do: skip }, { key: 'b', show: 'B', text: 'Back', do: back }];
  if (phase === 'review') return [
    { key: 'Enter', show: 'Enter', text: 'Keep', do: keep, main: true },
    playing, { key: 'r', show: 'R', text: 'Retake', do: drop },
    { key: 's', show: 'S', text: 'Skip', do: skip }, { key: 'b', show: 'B', text: 'Back', do: back }];
  if (phase === 'done') return [{ key: 'b', show: 'B', text: 'Back', do: back }];
  return [];
}

function showActions() {
  if (!at.actions) return;
  at.actions.replaceChildren(...choices().map(choice => element('button', { type: 'button', class: choice.main ? 'main' : '', onclick: () => { at.card.focus(); choice.do(); } },
    choice.text, element('kbd', { 'aria-hidden': 'true' }, choice.show))));
  if (phase === 'sending') at.actions.replaceChildren(element('span', { class: 'dim' }, 'Looking at the take …'));
  if (phase === 'keeping') at.actions.replaceChildren(element('span', { class: 'dim' }, 'Keeping …'));
}

function onkey(event) {
  if (event.repeat || panel.hidden || isForControl(event)) return;
  const choice = choices().find(({ key }) => key === (event.key.length > 1 ? event.key : event.key.toLowerCase()));
  if (!choice) return;
  event.preventDefault();
  choice.do();
}

// ---- level, connection, messages

function showLevel({ peak, power }) {
  if (!at.bar) return;
  const db = Math.max(FLOOR_DB, Math.min(0, 10 * Math.log10(power + 1e-12)));
  at.bar.style.transform = `scaleX(${1 - db / FLOOR_DB})`;
  at.meter.setAttribute('aria-valuenow', Math.round(db));
  if (phase !== 'recording') { at.bar.className = peak >= state.levels.clipped ? 'bar loud' : 'bar'; return; }
  loudest = Math.max(loudest, peak);
  const elapsed = performance.now() - begun;
  at.clock.textContent = `${(elapsed / 1000).toFixed(1)} s`;
  const [kind, text] = loudest >= state.levels.clipped ? ['loud', 'Too loud: move away']
    : loudest >= state.levels.quiet ? ['good', 'Good'] : elapsed < QUIET_AFTER_MS ? ['', '…'] : ['quiet', 'Too quiet: come nearer'];
  at.bar.className = `bar ${kind}`;
  at.loudness.className = `chip ${kind}`;
  if (at.loudness.textContent !== text) at.loudness.textContent = text;
}

function onconnection(now) {
  isUp = now;
  if (!at.connection) return;
  at.connection.hidden = now;
  at.connection.textContent = now ? '' : 'The connection is lost. Go on speaking: your voice is kept here, and sent as soon as it is back.';
}

function onelsewhere() {
  microphone.close();
  document.removeEventListener('keydown', onkey);
  window.onbeforeunload = null;
  panel.replaceChildren(element('p', { class: 'panel', role: 'alert' }, 'This page has been opened a second time, and goes on there. Load it again to go on here.'));
}

function onlost() {
  if (phase === 'recording') setPhase('sending');
  tell('The microphone is gone. Plug it in, and choose it above.');
}

function tell(line) {
  if (!at.message || [...at.message.children].some(({ textContent }) => textContent === line)) return;
  at.message.append(element('li', { class: 'warn' }, line));
  announce(line);
}

const clearMessages = () => at.message?.replaceChildren();
