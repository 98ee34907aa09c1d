"""The chat page in a headless Chromium: loads without any other server, streams, stops, edits and retries, is used by
keyboard alone, is dark where that is wished, and never runs what a model or a message says. With FACET_SCREENSHOTS set to
a folder its pictures for the documentation are made anew."""

import base64
import json
import os
import unittest

import browser
from support import Server

ATTACKS = [
    "<script>window.hit = 1</script>", "<img src=x onerror='window.hit = 1'>", "<svg onload='window.hit = 1'></svg>",
    "<svg><script>window.hit = 1</script></svg>", "[a](javascript:window.hit=1)", "<a href='javascript:window.hit=1'>a</a>",
    "<a href='data:text/html,<script>parent.hit=1</script>'>a</a>", "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<math><mtext><table><mglyph><style><img src=x onerror='window.hit = 1'>", "<form action='javascript:window.hit=1'><input autofocus onfocus='window.hit = 1'>",
    "![a](x\"onerror=\"window.hit=1)", "```html\n<img src=x onerror='window.hit = 1'>\n```", "`<script>window.hit=1</script>`",
    "$$\\href{javascript:window.hit=1}{a}$$", "\\(\\htmlData{a=b}{x}\\)", "<details open ontoggle='window.hit = 1'>a</details>",
    "<body onload='window.hit = 1'>", "<style>@import 'http://x.example/';</style>", "<link rel=stylesheet href='http://x.example/'>",
    "<base href='http://x.example/'>", "<object data='javascript:window.hit=1'></object>", "<p style='background:url(http://x.example/)'>a</p>",
    "<noscript><p title='</noscript><img src=x onerror=window.hit=1>'>", "<template><img src=x onerror='window.hit=1'></template>",
    "&lt;script&gt;window.hit=1&lt;/script&gt;", "[a]: javascript:window.hit=1\n\n[a]", "<JAVASCRIPT:window.hit=1>",
    "| a |\n|---|\n| <img src=x onerror='window.hit = 1'> |", "<div id=input></div><img name=getElementById>",
]


@unittest.skipUnless(browser.PROGRAM, "no Chromium here: the chat page is not tested")
class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--temp", "0")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.page = browser.Browser()
        self.addCleanup(self.page.close)
        self.page.open(self.server.url + "/")
        self.page.wait("document.getElementById('context-text').textContent.includes('tokens')")

    def texts(self, role="assistant"):
        return self.page.run(f"[...document.querySelectorAll('#messages li.{role} .text')].map((e) => e.innerText.trim())")

    def answered(self, n):
        self.page.wait("document.getElementById('stop').hidden && "
                       f"document.querySelectorAll('#messages li.assistant').length === {n}")

    def say(self, text, n):
        self.page.run("document.getElementById('input').focus()")
        self.page.type(text)
        self.page.key("Enter", number=13)
        self.answered(n)

    def click(self, selector):
        self.page.run(f"document.querySelector({json.dumps(selector)}).click()")

    def press(self, label, i):
        self.page.run(f"[...document.querySelectorAll('#messages li .tools button')]"
                      f".filter((b) => b.textContent === '{label}')[{i}].click()")

    def test_conversation(self):
        self.say("What is 3 + 4?", 1)
        self.assertEqual(self.texts(), ["3 + 4 = 7"])
        self.say("What is the capital of Italy?", 2)
        self.assertEqual(self.texts()[1], "The capital of Italy is Rome.")
        note = self.page.run("document.querySelector('#messages li.assistant .tools span').textContent")
        self.assertIn("tokens/s", note)
        self.assertGreater(self.page.run("document.getElementById('context').value"), 20)
        self.press("Retry", 1)
        self.answered(2)
        self.assertEqual(self.texts()[1], "The capital of Italy is Rome.")
        self.press("Edit", 0)
        self.assertEqual(self.page.run("document.getElementById('input').value"), "What is 3 + 4?")
        self.assertEqual(self.texts("user"), [])
        self.page.run("document.getElementById('input').select()")
        self.say("What is 5 + 4?", 1)
        self.assertEqual(self.texts(), ["5 + 4 = 9"])
        self.page.open(self.server.url + "/")  # it is kept in the browser
        self.page.wait("document.querySelectorAll('#messages li.assistant').length === 1")
        self.assertEqual(self.texts(), ["5 + 4 = 9"])
        self.assertEqual(self.page.problems(), [])
        asked = [a for a in self.page.addresses() if not a.startswith(("data:", "about:", "blob:"))]
        self.assertTrue(all(a.startswith(self.server.url + "/") for a in asked), asked)

    def test_stream_and_stop(self):
        self.page.run("""window.lengths = new Set();
            new MutationObserver(() => {
                const e = document.querySelector('#messages li.assistant .text');
                if (e) window.lengths.add(e.innerText.length);
            }).observe(document.getElementById('messages'), {subtree: true, childList: true, characterData: true});
            const ask = window.fetch;
            window.fetch = (url, o) => {
                if (o?.body) o = {...o, body: JSON.stringify({...JSON.parse(o.body), ignore_eos: true})};
                return ask(url, o);
            }; 0""")
        self.page.run("document.getElementById('input').focus()")
        self.page.type("Tell me a story.")
        self.page.key("Enter", number=13)
        self.page.wait("window.lengths.size > 5")
        self.assertFalse(self.page.run("document.getElementById('stop').hidden"))
        self.click("#stop")
        self.answered(1)
        self.assertIn("stopped", self.page.run("document.querySelector('#messages li.assistant .tools').innerText"))
        self.assertGreater(len(self.texts()[0]), 10)
        self.server.wait_idle()

    def test_keyboard(self):
        """Tab reaches everything in order, Enter sends, Shift+Enter does not, Escape closes."""
        self.assertEqual(self.page.run("document.activeElement.id"), "input")
        self.page.type("one")
        self.page.key("Enter", number=13, modifiers=8)
        self.assertEqual(self.page.run("document.querySelectorAll('#messages li').length"), 0)
        self.page.run("document.getElementById('input').select()")
        self.say("What is 3 + 4?", 1)
        seen = []
        for _ in range(25):
            self.page.key("Tab", number=9)
            seen.append(self.page.run("document.activeElement.id || document.activeElement.textContent || document.activeElement.tagName"))
        for name in ("new", "settings-open", "input", "send", "Copy", "Edit", "Retry"):
            self.assertIn(name, seen)
        self.page.run("document.getElementById('settings-open').focus()")
        self.page.key("Enter", number=13)
        self.page.wait("document.getElementById('settings').open")
        self.page.key("Escape", number=27)
        self.page.wait("!document.getElementById('settings').open")
        unnamed = self.page.run("""[...document.querySelectorAll('button, input, textarea, meter')].filter((e) =>
            !e.textContent.trim() && !e.getAttribute('aria-label') && !e.closest('label') && !e.title).length""")
        self.assertEqual(unnamed, 0)

    def test_settings(self):
        self.click("#settings-open")
        self.page.run("document.querySelector('[name=think]').checked = true;"
                      "document.querySelector('[name=max_tokens]').value = 40; 0")
        self.click("#settings button[value=save]")
        self.say("What is 3 + 4?", 1)
        self.assertFalse(self.page.run("document.querySelector('#messages li.assistant details').hidden"))
        self.assertIn("sum", self.page.run("document.querySelector('#messages li.assistant .thought').textContent"))

    def test_dark(self):
        light = self.page.run("getComputedStyle(document.body).backgroundColor")
        self.page.dark(True)
        dark = self.page.run("getComputedStyle(document.body).backgroundColor")
        brightness = lambda c: sum(map(int, c[c.index("(") + 1 : -1].split(",")[:3]))
        self.assertGreater(brightness(light), 600)
        self.assertLess(brightness(dark), 200)

    def check_harmless(self):
        self.page.run("for (const e of document.querySelectorAll('#messages .text, #messages .text *')) { e.click?.(); e.focus?.(); } 0")
        self.page.run("new Promise((r) => setTimeout(r, 300))")
        self.assertIsNone(self.page.run("window.hit"))
        bad = self.page.run("""[...document.querySelectorAll('#messages .text *')].filter((e) =>
            /^(SCRIPT|IFRAME|OBJECT|IMG|FORM|LINK|BASE|STYLE|TEMPLATE|INPUT)$/i.test(e.tagName)
            || [...e.attributes].some((a) => /^on/i.test(a.name) || /^\\s*(javascript|data):/i.test(a.value)))
            .map((e) => e.outerHTML.slice(0, 200))""")
        self.assertEqual(bad, [])
        self.assertFalse([a for a in self.page.addresses() if "x.example" in a])

    def test_attacks_of_the_user(self):
        for attack in ATTACKS[:4]:
            self.page.run("document.getElementById('input').value = " + json.dumps(attack) + "; 0")
            self.click("#send")
            self.page.wait("document.getElementById('stop').hidden")
        self.check_harmless()
        self.assertEqual(self.texts("user"), [a.strip() for a in ATTACKS[:4]])

    def test_attacks_of_the_model(self):
        """What the server would stream is replaced by what nobody wants to see run."""
        self.page.call("Fetch.enable", patterns=[{"urlPattern": "*/v1/chat/completions*"}])
        for n, attack in enumerate(ATTACKS + ["\n\n".join(ATTACKS)]):
            pieces = [attack[i : i + 7] for i in range(0, len(attack), 7)]
            stream = "".join(
                "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": p, "reasoning_content": p}, "finish_reason": None}]})
                + "\n\n" for p in pieces) + "data: [DONE]\n\n"
            self.page.run("document.getElementById('input').value = 'a'; document.getElementById('send').click(); 0")
            while True:
                paused = [e for e in self.page.events if e.get("method") == "Fetch.requestPaused"]
                if paused:
                    break
                self.page.run("0")
            self.page.events.remove(paused[0])
            self.page.call("Fetch.fulfillRequest", requestId=paused[0]["params"]["requestId"], responseCode=200,
                           responseHeaders=[{"name": "Content-Type", "value": "text/event-stream"}],
                           body=base64.b64encode(stream.encode()).decode())
            self.answered(n + 1)
            self.check_harmless()
        self.assertEqual(self.page.run("document.querySelectorAll('#input').length"), 1)

    @unittest.skipUnless("FACET_SCREENSHOTS" in os.environ, "FACET_SCREENSHOTS is not set")
    def test_pictures(self):
        folder = os.environ["FACET_SCREENSHOTS"]
        self.page.call("Emulation.setDeviceMetricsOverride", width=800, height=560, deviceScaleFactor=1, mobile=False)
        self.say("What is the capital of Italy?", 1)
        self.say("Write a C function that sums an array.", 2)
        self.page.picture(os.path.join(folder, "chat-light.png"))
        self.page.dark(True)
        self.page.picture(os.path.join(folder, "chat-dark.png"))


if __name__ == "__main__":
    unittest.main()
