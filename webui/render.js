// Text of the model as HTML: markdown, always sanitised, code in colours, formulas. Where a library is not there the
// text is shown as it is.

const hasMarkdown = () => window.marked && window.DOMPurify;
const allowed = { FORBID_TAGS: ['style', 'form', 'input', 'img', 'iframe', 'svg', 'math'], FORBID_ATTR: ['style', 'class', 'id'] };

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

// The language of a fence survives sanitising as the class that marked gives.
const keepLanguages = (html) => {
  const languages = [...html.matchAll(/<pre><code(?: class="language-([\w+#-]+)")?>/g)].map((m) => m[1]);
  return (code, i) => languages[i] && code.classList.add(`language-${languages[i]}`);
};

const delimiters = [
  { left: '$$', right: '$$', display: true },
  { left: '\\[', right: '\\]', display: true },
  { left: '\\(', right: '\\)', display: false },
];

export const render = (element, text, finished) => {
  if (!hasMarkdown()) {
    element.classList.add('plain');
    element.textContent = text;
    return;
  }
  // Backslashes before brackets are markdown's escapes: doubled, they reach the formulas.
  const html = window.marked.parse(text.replace(/\\([[\]()])/g, '\\\\$1'), { breaks: true, mangle: false, headerIds: false });
  element.innerHTML = window.DOMPurify.sanitize(html, allowed);
  for (const a of element.querySelectorAll('a')) {
    a.target = '_blank';
    a.rel = 'noopener noreferrer';
  }
  if (!finished) return;
  element.querySelectorAll('pre > code').forEach(keepLanguages(html));
  for (const pre of element.querySelectorAll('pre')) {
    if (window.hljs) (window.hljs.highlightElement ?? window.hljs.highlightBlock)(pre.querySelector('code') ?? pre);
    addCopy(pre);
  }
  if (window.renderMathInElement) window.renderMathInElement(element, { delimiters, throwOnError: false });
};
