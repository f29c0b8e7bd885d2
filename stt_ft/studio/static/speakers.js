// The owner's tab Record: who records, with which link, and how far each has come.

import { element } from './element.js';
import { announce, ask } from './studio.js';

const REFRESH_MS = 4000;
let list, message, timer;

export async function open(panel) {
  const name = element('input', { id: 'speaker-name', required: true, maxlength: 200, autocomplete: 'off', placeholder: 'a name or initials' });
  const form = element('form', { class: 'row', onsubmit: event => { event.preventDefault(); invite(name); } },
    element('label', { for: 'speaker-name' }, 'Who is going to read?'), name, element('button', { class: 'main', type: 'submit' }, 'Make a link'));
  message = element('p', { class: 'dim', role: 'status' });
  list = element('ul', { class: 'speakers', 'aria-label': 'Speakers' });
  panel.replaceChildren(element('h1', {}, 'Record'),
    element('p', { class: 'detail' }, 'Every speaker has a link of their own. It opens their prompts and nothing else, as often as they like.'),
    element('div', { class: 'panel' }, form, message), list);
}

export const shown = async () => { await refresh(); timer = setInterval(refresh, REFRESH_MS); };
export const hidden = () => clearInterval(timer);

async function invite(input) {
  try {
    const { link } = await ask('POST', 'api/speakers', { name: input.value });
    announce(`Link for ${input.value} made`);
    message.textContent = '';
    input.value = '';
    await refresh();
    document.querySelector(`[data-link="${CSS.escape(link)}"] a`)?.focus();
  } catch (error) {
    message.textContent = error.message;
  }
}

async function refresh() {
  try {
    const { speakers, prompts } = await ask('GET', 'api/speakers');
    if (!prompts) message.textContent = 'No prompts: start the studio with --script FILE.';
    const before = list.dataset.shows, now = JSON.stringify([speakers, prompts]);
    if (before !== now) list.replaceChildren(...speakers.map(speaker => row(speaker, prompts)));
    list.dataset.shows = now;
  } catch (error) {
    message.textContent = error.message;
  }
}

function row({ name, done, link, here }, prompts) {
  const address = new URL(link, location.href).href;
  const copy = element('button', {
    type: 'button', 'aria-label': `Copy the link of ${name}`,
    onclick: async () => {
      try { await navigator.clipboard.writeText(address); announce('Copied'); copy.textContent = 'Copied'; } catch { prompt('The link', address); }
    },
  }, 'Copy link');
  return element('li', { class: 'panel row', 'data-link': link },
    element('strong', {}, name),
    element('progress', { max: Math.max(prompts, 1), value: done, 'aria-label': `Prompts that ${name} has read` }),
    element('span', { class: 'dim' }, `${done} of ${prompts}${here ? ', recording now' : ''}`),
    copy, element('a', { href: address, target: '_blank', rel: 'noreferrer', class: 'button' }, `Open as ${name}`));
}
