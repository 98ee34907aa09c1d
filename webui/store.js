// What stays in the browser: conversations and settings. Knows nothing of the page or the server.

const read = (key, otherwise) => {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
};
const write = (key, value) => {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch (e) {
    console.warn('not saved:', e.message); // private mode, or full
  }
};

export const settings = read('facet.settings', {});
export const saveSettings = (values) => {
  for (const key of Object.keys(settings)) delete settings[key];
  Object.assign(settings, values);
  write('facet.settings', settings);
};

// Newest first: {id, title, messages: [{role, content, reasoning_content?, note?, error?}]}
export const conversations = read('facet.conversations', []);
export const saveConversations = () => write('facet.conversations', conversations.filter((c) => c.messages.length));

export const newConversation = () => {
  const empty = conversations.find((c) => !c.messages.length);
  if (empty) return empty;
  const c = { id: Date.now().toString(36) + Math.random().toString(36).slice(2), title: '', messages: [] };
  conversations.unshift(c);
  return c;
};

export const removeConversation = (c) => {
  conversations.splice(conversations.indexOf(c), 1);
  saveConversations();
};
