import { element } from './studio.js';

export async function open(panel) {
  panel.replaceChildren(element('h1', {}, 'Record'));
}
