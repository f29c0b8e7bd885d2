// The page around the tabs: which one is shown, dark and light, and what the tabs share. A tab's module exports `open(panel)`, which is
// called when it is first shown, and may export `shown()` and `hidden()`, called each time.

/** An answer of the server that is no success; `status` is 0 where there was none. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Ask the server; returns the JSON of its answer, or throws `Refused` with one line for the user. */
export async function ask(method, address, body) {
  const options = body === undefined ? { method } : { method, body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } };
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Refused('The studio does not answer. Is it still running?', 0);
  }
  const value = await answer.json().catch(() => ({ error: `The studio answered ${answer.status}` }));
  if (!answer.ok) throw new Refused(value.error, answer.status);
  return value;
}

/** Say something to screen readers. */
export function announce(text) {
  const said = document.getElementById('said');
  said.textContent = '';
  requestAnimationFrame(() => { said.textContent = text; });
}

/** Whether a key press belongs to the control that has the focus: text being typed, a button being pressed. */
export const isForControl = event =>
  event.ctrlKey || event.metaKey || event.altKey
  || event.target.closest('input:not([type=checkbox]), select, textarea') !== null
  || (event.target.closest('button, a, [role=tab], summary, input') !== null && [' ', 'Enter'].includes(event.key));

const modules = new Map();
let shown = null;

async function show(name) {
  if (name === shown) return;
  modules.get(shown)?.hidden?.();
  shown = name;
  for (const tab of document.querySelectorAll('[role=tab]')) {
    const is = tab.dataset.tab === name;
    tab.setAttribute('aria-selected', is);
    tab.tabIndex = is ? 0 : -1;
    document.getElementById(`panel-${tab.dataset.tab}`).hidden = !is;
  }
  history.replaceState(null, '', `#${name}`);
  if (!modules.has(name)) {
    const module = await import(`./${name}.js`);
    modules.set(name, module);
    await module.open(document.getElementById(`panel-${name}`));
  }
  if (shown === name) modules.get(name).shown?.();
}

const tabs = [...document.querySelectorAll('[role=tab]')];
tabs.forEach((tab, index) => {
  tab.addEventListener('click', () => show(tab.dataset.tab));
  tab.addEventListener('keydown', event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(index + step + tabs.length) % tabs.length];
    next.focus();
    show(next.dataset.tab);
  });
});

const root = document.documentElement;
const remembered = { get theme() { try { return localStorage.getItem('theme'); } catch { return null; } } };
if (remembered.theme) root.dataset.theme = remembered.theme;
document.getElementById('theme').addEventListener('click', () => {
  const isDark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = isDark ? 'light' : 'dark';
  try { localStorage.setItem('theme', root.dataset.theme); } catch { /* a browser that keeps nothing */ }
  dispatchEvent(new Event('theme'));
});

const wanted = location.hash.slice(1);
show(tabs.some(tab => tab.dataset.tab === wanted) ? wanted : tabs[0].dataset.tab);
