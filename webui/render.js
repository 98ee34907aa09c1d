// Text of the model as a document: markdown, code in colours, formulas. Where a library is not there the text is shown
// as it is. HTML never reaches the page as text: what markdown makes is parsed aside, and only known elements with known
// attributes are made anew from it.

const attributes = {
  P: [], BR: [], HR: [], EM: [], STRONG: [], DEL: [], BLOCKQUOTE: [], PRE: [], UL: [], LI: [], SUB: [], SUP: [], KBD: [],
  H1: [], H2: [], H3: [], H4: [], H5: [], H6: [], TABLE: [], THEAD: [], TBODY: [], TR: [],
  OL: ['start'], TH: ['align'], TD: ['align'], CODE: ['class'], A: ['href', 'title'],
};
const valid = {
  start: /^\d{1,9}$/,
  align: /^(left|right|center)$/,
  class: /^language-[\w+#-]+$/,
  href: /^(https?:|mailto:)/i,
  title: /^/,
};
const dropped = new Set(['SCRIPT', 'STYLE', 'TEMPLATE', 'IFRAME', 'OBJECT', 'TITLE', 'TEXTAREA']);
const mostDepth = 100;

const copyElement = (from) => {
  const to = document.createElement(from.tagName);
  for (const name of attributes[from.tagName]) {
    const value = from.getAttribute(name);
    if (value !== null && valid[name].test(value)) to.setAttribute(name, value);
  }
  if (to.tagName === 'A') Object.assign(to, { target: '_blank', rel: 'noopener noreferrer' });
  return to;
};

const copyChildren = (from, to, depth) => {
  for (const child of from.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) to.append(child.data);
    if (child.nodeType !== Node.ELEMENT_NODE || dropped.has(child.tagName) || depth > mostDepth) continue;
    const known = Object.hasOwn(attributes, child.tagName);
    const inner = known ? copyElement(child) : to;
    if (known) to.append(inner);
    copyChildren(child, inner, depth + 1);
  }
};

const addCopy = (pre) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(pre.querySelector('code')?.textContent ?? pre.textContent);
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = 'Copy'), 1500);
  });
  pre.append(button);
};

const delimiters = [
  { left: '$$', right: '$$', display: true },
  { left: '\\[', right: '\\]', display: true },
  { left: '\\(', right: '\\)', display: false },
];

const renderMarkdown = (element, text, finished) => {
  // Backslashes before brackets are markdown's escapes: doubled, they reach the formulas.
  const html = window.marked.parse(text.replace(/\\([[\]()])/g, '\\\\$1'), { breaks: true, mangle: false, headerIds: false });
  const content = document.createDocumentFragment();
  copyChildren(new DOMParser().parseFromString(html, 'text/html').body, content, 0);
  element.replaceChildren(content);
  if (!finished) return;
  for (const code of element.querySelectorAll('pre > code')) {
    if (window.hljs) (window.hljs.highlightElement ?? window.hljs.highlightBlock)(code);
    addCopy(code.parentElement);
  }
  if (window.renderMathInElement) window.renderMathInElement(element, { delimiters, throwOnError: false });
};

export const render = (element, text, finished) => {
  element.classList.toggle('plain', !window.marked);
  if (window.marked) renderMarkdown(element, text, finished);
  else element.textContent = text;
};
