"""The official openai package drives the server: every feature, whole and streamed."""

import json
import math
import unittest

import openai
from pydantic import BaseModel
from support import WEATHER, Server

CAPITAL = [{"role": "user", "content": "What is the capital of Italy?"}]
PARIS = [{"role": "user", "content": "What is the weather in Paris?"}]


class Person(BaseModel):
    name: str
    grown: bool


class OpenAI(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--api-key", "k")
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="k", max_retries=0)
        cls.chat = cls.client.chat.completions

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def test_models(self):
        models = self.client.models.list().data
        self.assertEqual(len(models), 1)
        self.assertEqual(self.client.models.retrieve(models[0].id).id, models[0].id)

    def test_key(self):
        with self.assertRaises(openai.AuthenticationError):
            openai.OpenAI(base_url=self.server.url + "/v1", api_key="wrong", max_retries=0).models.list()

    def test_chat(self):
        r = self.chat.create(model="any", messages=CAPITAL, temperature=0)
        self.assertEqual(r.choices[0].message.content, "The capital of Italy is Rome.")
        self.assertEqual(r.choices[0].finish_reason, "stop")
        self.assertEqual(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens)

    def test_stream(self):
        chunks = list(
            self.chat.create(
                model="any", messages=CAPITAL, temperature=0, stream=True, stream_options={"include_usage": True}
            )
        )
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, "The capital of Italy is Rome.")
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 7)

    def test_stream_helper(self):
        with self.chat.stream(model="any", messages=PARIS, temperature=0, tools=[WEATHER]) as stream:
            for _ in stream:
                pass
            call = stream.get_final_completion().choices[0].message.tool_calls[0]
        self.assertEqual(json.loads(call.function.arguments), {"city": "Paris"})

    def test_choices_and_seed(self):
        ask = lambda seed: [
            c.message.content
            for c in self.chat.create(
                model="any", messages=[{"role": "user", "content": "Tell me a story."}], n=3, seed=seed, max_tokens=20
            ).choices
        ]
        self.assertEqual(ask(5), ask(5))
        self.assertNotEqual(ask(5), ask(6))
        self.assertGreater(len(set(ask(5))), 1)

    def test_stop(self):
        r = self.chat.create(model="any", messages=CAPITAL, temperature=0, stop=["y is", "zebra"])
        self.assertEqual((r.choices[0].message.content, r.choices[0].finish_reason), ("The capital of Ital", "stop"))

    def test_length(self):
        for limit in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
            r = self.chat.create(model="any", messages=CAPITAL, temperature=0, **limit)
            self.assertEqual((r.choices[0].finish_reason, r.usage.completion_tokens), ("length", 3))

    def test_logprobs(self):
        r = self.chat.create(model="any", messages=CAPITAL, temperature=0, logprobs=True, top_logprobs=5)
        tokens = r.choices[0].logprobs.content
        self.assertEqual("".join(t.token for t in tokens), "The capital of Italy is Rome.")
        for t in tokens:
            self.assertEqual(bytes(t.bytes).decode(), t.token)
            self.assertEqual(t.top_logprobs[0].logprob, t.logprob)
            self.assertLessEqual(sum(math.exp(x.logprob) for x in t.top_logprobs), 1.0001)
        streamed = self.chat.create(model="any", messages=CAPITAL, temperature=0, logprobs=True, stream=True)
        entries = [t for c in streamed for t in (c.choices[0].logprobs.content if c.choices[0].logprobs else [])]
        self.assertEqual([(t.token, t.logprob) for t in entries], [(t.token, t.logprob) for t in tokens])

    def test_tools_round_trip(self):
        first = self.chat.create(model="any", messages=PARIS, temperature=0, tools=[WEATHER])
        message = first.choices[0].message
        self.assertEqual(first.choices[0].finish_reason, "tool_calls")
        self.assertEqual(message.tool_calls[0].function.name, "get_weather")
        answer = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
        second = self.chat.create(model="any", messages=[*PARIS, message, answer], temperature=0, tools=[WEATHER])
        self.assertEqual(second.choices[0].finish_reason, "stop")
        self.assertTrue(second.choices[0].message.content)

    def test_tool_choice(self):
        for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
            r = self.chat.create(
                model="any", messages=CAPITAL, temperature=0, tools=[WEATHER], tool_choice=choice,
                parallel_tool_calls=False, max_tokens=200,
            )
            if r.choices[0].finish_reason == "length":
                continue  # a string may be as long as the model likes
            self.assertEqual(len(r.choices[0].message.tool_calls), 1)
            self.assertIn("city", json.loads(r.choices[0].message.tool_calls[0].function.arguments))
        r = self.chat.create(model="any", messages=PARIS, temperature=0, tools=[WEATHER], tool_choice="none")
        self.assertIsNone(r.choices[0].message.tool_calls)

    def test_parse(self):
        r = self.chat.parse(model="any", messages=CAPITAL, temperature=0.3, seed=1, response_format=Person)
        self.assertIsInstance(r.choices[0].message.parsed, Person)

    def test_json_object(self):
        r = self.chat.create(model="any", messages=CAPITAL, temperature=0, response_format={"type": "json_object"})
        self.assertIsInstance(json.loads(r.choices[0].message.content), dict)

    def test_reasoning(self):
        ask = {"model": "any", "messages": [{"role": "user", "content": "What is 3 + 4?"}], "temperature": 0}
        r = self.chat.create(**ask, reasoning_effort="low")
        self.assertEqual(r.choices[0].message.content, "3 + 4 = 7")
        self.assertTrue(r.choices[0].message.reasoning_content)
        self.assertGreater(r.usage.completion_tokens_details.reasoning_tokens, 0)
        off = self.chat.create(**ask, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
        self.assertFalse(hasattr(off.choices[0].message, "reasoning_content"))

    def test_completions(self):
        r = self.client.completions.create(
            model="any", prompt=["The capital of Italy", [2, 300]], max_tokens=3, temperature=0, logprobs=2
        )
        self.assertEqual([c.index for c in r.choices], [0, 1])
        self.assertEqual(r.choices[0].text, " is Rome.")
        self.assertEqual("".join(r.choices[0].logprobs.tokens), " is Rome.")
        pieces = self.client.completions.create(
            model="any", prompt="The capital of Italy", max_tokens=3, temperature=0, stream=True
        )
        self.assertEqual("".join(p.choices[0].text for p in pieces), " is Rome.")

    def test_echo_scores_are_those_of_generation(self):
        made = self.client.completions.create(
            model="any", prompt="The capital of Italy", max_tokens=3, temperature=0, logprobs=0
        ).choices[0]
        read = self.client.completions.create(
            model="any", prompt="The capital of Italy" + made.text, max_tokens=0, echo=True, logprobs=0
        ).choices[0]
        n = len(made.logprobs.tokens)
        self.assertEqual(read.logprobs.tokens[-n:], made.logprobs.tokens)
        for a, b in zip(read.logprobs.token_logprobs[-n:], made.logprobs.token_logprobs):
            self.assertAlmostEqual(a, b, places=5)

    def test_embeddings(self):
        r = self.client.embeddings.create(model="any", input=["Hello", "Good bye"])  # asks for base64
        self.assertEqual(len(r.data), 2)
        for d in r.data:
            self.assertAlmostEqual(sum(x * x for x in d.embedding), 1, places=4)
        short = self.client.embeddings.create(model="any", input="Hello", dimensions=8, encoding_format="float")
        self.assertEqual(len(short.data[0].embedding), 8)

    def test_responses(self):
        r = self.client.responses.create(model="any", input="What is 3 + 4?", temperature=0, instructions="Be brief.")
        self.assertEqual(r.status, "completed")
        self.assertIn("7", r.output_text)
        thought = self.client.responses.create(
            model="any", input="What is 3 + 4?", temperature=0, reasoning={"effort": "low"}
        )
        self.assertEqual([o.type for o in thought.output], ["reasoning", "message"])

    def test_responses_stream_and_tools(self):
        tool = {"type": "function", **WEATHER["function"], "strict": False}
        items = [{"role": "user", "content": "What is the weather in Paris?"}]
        with self.client.responses.stream(model="any", input=items, temperature=0, tools=[tool]) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        self.assertEqual(kinds[0], "response.created")
        self.assertEqual(kinds[-1], "response.completed")
        call = final.output[0]
        self.assertEqual((call.type, json.loads(call.arguments)), ("function_call", {"city": "Paris"}))
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        given = {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
        after = self.client.responses.create(model="any", input=[*items, given, output], temperature=0, tools=[tool])
        self.assertTrue(after.output_text)
        with self.client.responses.stream(model="any", input="What is 3 + 4?", temperature=0) as stream:
            text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
            self.assertEqual(text, stream.get_final_response().output_text)

    def test_errors(self):
        for wrong, param in (
            ({"messages": []}, "messages"),
            ({"messages": CAPITAL, "temperature": -1}, "temperature"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
             "messages[0].content[0].type"),
        ):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.chat.create(model="any", **wrong)
            self.assertEqual(caught.exception.param, param)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat.create(model="any", messages=[{"role": "user", "content": "word " * 10000}])
        self.assertEqual(caught.exception.code, "context_length_exceeded")


if __name__ == "__main__":
    unittest.main()
