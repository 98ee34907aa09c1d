"""The official anthropic package drives the server."""

import unittest

import anthropic
from support import WEATHER, Server

TOOL = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": WEATHER["function"]["parameters"],
}
PARIS = {"role": "user", "content": "What is the weather in Paris?"}
SUM = {"role": "user", "content": "What is 3 + 4?"}


class Anthropic(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--api-key", "k", "--temp", "0")
        cls.client = anthropic.Anthropic(base_url=cls.server.url, api_key="k", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def create(self, *messages, **more):
        return self.client.messages.create(model="any", max_tokens=200, messages=messages, **more)

    def test_message(self):
        r = self.create(SUM)
        self.assertEqual(r.content[0].text, "3 + 4 = 7")
        self.assertEqual((r.role, r.stop_reason), ("assistant", "end_turn"))

    def test_system_and_count(self):
        count = lambda **more: self.client.messages.count_tokens(model="any", messages=[SUM], **more).input_tokens
        self.assertGreater(count(system="Be brief."), count())
        r = self.create(SUM)
        self.assertEqual(r.usage.input_tokens + r.usage.cache_read_input_tokens, count())

    def test_stream(self):
        with self.client.messages.stream(model="any", max_tokens=50, messages=[SUM]) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, "3 + 4 = 7")
        self.assertEqual((final.content[0].text, final.stop_reason), (text, "end_turn"))
        self.assertGreater(final.usage.output_tokens, 0)

    def test_thinking(self):
        think = {"type": "enabled", "budget_tokens": 1024}
        r = self.create(SUM, thinking=think)
        self.assertEqual([b.type for b in r.content], ["thinking", "text"])
        with self.client.messages.stream(
            model="any", max_tokens=200, messages=[SUM], thinking=think
        ) as stream:
            final = stream.get_final_message()
        self.assertEqual([b.type for b in final.content], ["thinking", "text"])
        again = self.create(SUM, {"role": "assistant", "content": final.content}, SUM, thinking=think)
        self.assertEqual(again.stop_reason, "end_turn")

    def test_tools(self):
        r = self.create(PARIS, tools=[TOOL])
        self.assertEqual(r.stop_reason, "tool_use")
        call = r.content[-1]
        self.assertEqual((call.name, call.input), ("get_weather", {"city": "Paris"}))
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
        after = self.create(
            PARIS, {"role": "assistant", "content": r.content}, {"role": "user", "content": [result]}, tools=[TOOL]
        )
        self.assertEqual(after.stop_reason, "end_turn")
        with self.client.messages.stream(
            model="any", max_tokens=50, messages=[PARIS], tools=[TOOL]
        ) as stream:
            self.assertEqual(stream.get_final_message().content[-1].input, {"city": "Paris"})

    def test_prefill_and_stop(self):
        r = self.create(SUM, {"role": "assistant", "content": "3 + 4"})
        self.assertEqual(r.content[0].text, " = 7")
        r = self.create(SUM, stop_sequences=["="])
        self.assertEqual((r.stop_reason, r.stop_sequence), ("stop_sequence", "="))

    def test_errors(self):
        with self.assertRaises(anthropic.BadRequestError):
            self.create()
        with self.assertRaises(anthropic.BadRequestError):
            self.create({"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]})
        with self.assertRaises(anthropic.AuthenticationError):
            anthropic.Anthropic(base_url=self.server.url, api_key="no", max_retries=0).messages.create(
                model="any", max_tokens=1, messages=[SUM]
            )


if __name__ == "__main__":
    unittest.main()
