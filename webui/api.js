// Talking with the server. Paths are relative, so that the page also works behind a prefix.

const headers = (key) => {
  const h = { 'Content-Type': 'application/json' };
  if (key) h.Authorization = `Bearer ${key}`;
  return h;
};

const failure = async (response) => {
  const body = await response.json().catch(() => null);
  const message = body?.error?.message ?? response.statusText;
  return new Error(response.status === 401 ? `${message} (Settings, API key)` : message);
};

export const getProps = async (key) => {
  const response = await fetch('props', { headers: headers(key) });
  if (!response.ok) throw await failure(response);
  return response.json();
};

// Events of a stream: the JSON of each "data:" line.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith('data: ')) continue;
      const data = line.slice(6);
      if (data === '[DONE]') return;
      yield JSON.parse(data);
    }
  }
}

// Calls onDelta({content?, reasoning_content?}) for each piece. Returns {usage, timings, finish}.
export const chat = async (request, key, signal, onDelta) => {
  const body = JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } });
  const response = await fetch('v1/chat/completions', { method: 'POST', headers: headers(key), body, signal });
  if (!response.ok) throw await failure(response);
  const end = {};
  for await (const event of events(response.body)) {
    if (event.error) throw new Error(event.error.message);
    if (event.usage) Object.assign(end, { usage: event.usage, timings: event.timings });
    const choice = event.choices?.[0];
    if (!choice) continue;
    if (choice.finish_reason) end.finish = choice.finish_reason;
    onDelta(choice.delta);
  }
  return end;
};
