// The chat page: what is shown and what happens when something is clicked.
import { chat, getProps } from './api.js';
import { render } from './render.js';
import { conversations, newConversation, removeConversation, saveConversations, saveSettings, settings } from './store.js';

const $ = (id) => document.getElementById(id);
const create = (tag, properties = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
};

let current = conversations[0] ?? newConversation();
let running = null; // the AbortController of the answer that is coming
let contextSize = 0;

// ---- conversations

const showList = () => {
  $('list').replaceChildren(
    ...conversations.map((c) => {
      const open = create('button', { type: 'button', className: 'open', textContent: c.title || 'New conversation' });
      open.setAttribute('aria-current', c === current);
      open.addEventListener('click', () => choose(c));
      const remove = create('button', { type: 'button', className: 'delete', textContent: '✕', title: 'Delete' });
      remove.setAttribute('aria-label', `Delete ${c.title || 'this conversation'}`);
      remove.addEventListener('click', () => {
        if (c.messages.length && !confirm('Delete this conversation?')) return;
        if (c === current) running?.abort();
        removeConversation(c);
        choose(c === current ? conversations[0] ?? newConversation() : current);
      });
      return create('li', {}, open, remove);
    }),
  );
};

const choose = (c) => {
  if (c !== current) running?.abort();
  current = c;
  toggleSide(false);
  showList();
  showMessages();
  $('input').focus();
};

const toggleSide = (shown) => {
  $('side').classList.toggle('shown', shown);
  $('menu').setAttribute('aria-expanded', shown);
};

// ---- messages

const tool = (label, action) => {
  const b = create('button', { type: 'button', textContent: label });
  b.addEventListener('click', action);
  return b;
};

const showTools = (item, message) => {
  const tools = item.querySelector('.tools');
  const index = current.messages.indexOf(message);
  const buttons = [tool('Copy', () => navigator.clipboard.writeText(message.content))];
  if (!running && message.role === 'user') buttons.push(tool('Edit', () => edit(index)));
  if (!running && message.role === 'assistant') buttons.push(tool('Retry', () => retry(index)));
  tools.replaceChildren(...buttons, create('span', { textContent: message.note ?? '' }));
};

const fillItem = (item, message, finished) => {
  const thought = item.querySelector('details');
  thought.hidden = !message.reasoning_content;
  thought.querySelector('.thought').textContent = message.reasoning_content ?? '';
  const text = item.querySelector('.text');
  if (message.role === 'user') text.textContent = message.content;
  else render(text, message.content, finished);
  const error = item.querySelector('.error');
  error.hidden = !message.error;
  error.textContent = message.error ?? '';
};

const makeItem = (message, finished = true) => {
  const thought = create('details', {}, create('summary', { textContent: 'Thought' }), create('div', { className: 'thought plain' }));
  const item = create('li', { className: message.role }, thought, create('div', { className: 'text' }),
    create('p', { className: 'error' }), create('div', { className: 'tools' }));
  item.setAttribute('aria-label', message.role === 'user' ? 'You' : 'Model');
  fillItem(item, message, finished);
  return item;
};

const showMessages = () => {
  const items = current.messages.map((m) => makeItem(m));
  $('messages').replaceChildren(...items);
  items.forEach((item, i) => showTools(item, current.messages[i]));
  $('messages').scrollTop = $('messages').scrollHeight;
  showContext(current.messages.findLast?.((m) => m.context)?.context ?? 0);
};

const showContext = (used) => {
  $('context').hidden = !contextSize;
  $('context').max = contextSize || 1;
  $('context').high = contextSize * 0.85;
  $('context').value = used;
  $('context-text').textContent = contextSize ? `${used} / ${contextSize} tokens` : '';
};

// ---- asking

const number = (name) => (settings[name] === '' || settings[name] === undefined ? undefined : Number(settings[name]));

const makeRequest = (messages) => ({
  messages: [
    ...(settings.system ? [{ role: 'system', content: settings.system }] : []),
    ...messages.map(({ role, content }) => ({ role, content })),
  ],
  chat_template_kwargs: { enable_thinking: Boolean(settings.think) },
  temperature: number('temperature'), top_p: number('top_p'), top_k: number('top_k'), min_p: number('min_p'),
  max_tokens: number('max_tokens'), seed: number('seed'),
});

const noteOf = ({ usage, timings, finish }) => {
  if (!usage) return 'stopped';
  const parts = [`${usage.completion_tokens} tokens`];
  if (timings?.predicted_per_second) parts.push(`${timings.predicted_per_second.toFixed(1)} tokens/s`);
  if (usage.prompt_tokens_details?.cached_tokens) parts.push(`${usage.prompt_tokens_details.cached_tokens} cached`);
  if (finish === 'length') parts.push('cut off');
  return parts.join(' · ');
};

const setRunning = (controller) => {
  running = controller;
  $('send').hidden = Boolean(controller);
  $('stop').hidden = !controller;
  $('status').textContent = controller ? 'Answering…' : '';
};

const nearEnd = (e) => e.scrollHeight - e.scrollTop - e.clientHeight < 80;

const answer = async () => {
  const owner = current;
  const controller = new AbortController();
  const request = makeRequest(owner.messages);
  const message = { role: 'assistant', content: '' };
  owner.messages.push(message);
  const item = makeItem(message, false);
  const list = $('messages');
  list.append(item);
  setRunning(controller);
  let pending = false;
  const redraw = () => {
    pending = false;
    if (running !== controller) return;
    const follow = nearEnd(list);
    fillItem(item, message, false);
    if (follow) list.scrollTop = list.scrollHeight;
  };
  try {
    const end = await chat(request, settings.key, controller.signal, (delta) => {
      message.content += delta?.content ?? '';
      if (delta?.reasoning_content) message.reasoning_content = (message.reasoning_content ?? '') + delta.reasoning_content;
      if (!pending) requestAnimationFrame(redraw);
      pending = true;
    });
    message.note = noteOf(end);
    message.context = end.usage?.total_tokens;
  } catch (e) {
    if (controller.signal.aborted) message.note = 'stopped';
    else message.error = e.message;
  }
  setRunning(null);
  saveConversations();
  if (owner === current) showMessages();
};

const send = () => {
  const content = $('input').value.trim();
  if (!content || running) return;
  $('input').value = '';
  resize();
  if (!current.messages.length) current.title = content.slice(0, 60);
  current.messages.push({ role: 'user', content });
  saveConversations();
  showList();
  showMessages();
  answer();
};

const retry = (index) => {
  current.messages.length = index;
  showMessages();
  answer();
};

const edit = (index) => {
  $('input').value = current.messages[index].content;
  current.messages.length = index;
  saveConversations();
  showMessages();
  resize();
  $('input').focus();
};

const resize = () => {
  $('input').style.height = 'auto';
  $('input').style.height = `${$('input').scrollHeight + 2}px`;
};

// ---- settings

const openSettings = () => {
  for (const field of $('settings').querySelectorAll('[name]')) {
    if (field.type === 'checkbox') field.checked = Boolean(settings[field.name]);
    else field.value = settings[field.name] ?? '';
  }
  $('settings').showModal();
};

const closeSettings = () => {
  if ($('settings').returnValue !== 'save') return;
  const values = {};
  for (const field of $('settings').querySelectorAll('[name]'))
    values[field.name] = field.type === 'checkbox' ? field.checked : field.value;
  saveSettings(values);
  connect();
};

const connect = async () => {
  try {
    const props = await getProps(settings.key);
    contextSize = props.default_generation_settings.n_ctx;
    $('model').textContent = props.model;
    document.title = props.model;
    $('status').textContent = '';
  } catch (e) {
    $('status').textContent = e.message;
  }
  showMessages();
};

// ---- events

$('form').addEventListener('submit', (e) => {
  e.preventDefault();
  send();
});
$('input').addEventListener('keydown', (e) => {
  if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
  e.preventDefault();
  send();
});
$('input').addEventListener('input', resize);
$('stop').addEventListener('click', () => running?.abort());
document.addEventListener('keydown', (e) => {
  if (e.key === 'Escape' && !$('settings').open) running ? running.abort() : toggleSide(false);
});
$('new').addEventListener('click', () => choose(newConversation()));
$('menu').addEventListener('click', () => toggleSide(!$('side').classList.contains('shown')));
$('settings-open').addEventListener('click', openSettings);
$('settings').addEventListener('close', closeSettings);

showList();
window.addEventListener('load', connect); // the libraries are there by then
