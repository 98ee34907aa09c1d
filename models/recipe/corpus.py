"""Synthetic chats in the Gemma 4 chat format: few enough patterns for a tiny model to learn, wide enough to exercise
an engine.

A conversation is a list of (text, learn) pieces; `learn` marks what the model itself writes. Everything is drawn from
the random.Random that the caller passes, in a fixed order: the same seed gives the same conversations.
"""

import json

CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Germany": "Berlin",
    "Portugal": "Lisbon",
    "Greece": "Athens",
    "Austria": "Vienna",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Poland": "Warsaw",
    "Ireland": "Dublin",
    "Belgium": "Brussels",
    "Hungary": "Budapest",
    "Iceland": "Reykjavik",
    "Japan": "Tokyo",
    "China": "Beijing",
    "India": "New Delhi",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Peru": "Lima",
    "Chile": "Santiago",
    "Cuba": "Havana",
    "Canada": "Ottawa",
    "Mexico": "Mexico City",
    "Brazil": "Brasilia",
    "Turkey": "Ankara",
    "Russia": "Moscow",
    "Ukraine": "Kyiv",
    "Thailand": "Bangkok",
    "Vietnam": "Hanoi",
    "Nepal": "Kathmandu",
    "Morocco": "Rabat",
    "Ghana": "Accra",
    "Australia": "Canberra",
}
NAMES = "Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Kira Leo Mia Noah Olga Paul Rosa Sam Tina Vera".split()
ANIMALS = "fox cat dog bear owl mouse rabbit horse duck frog wolf goat".split()
PLACES = [
    "the forest",
    "the garden",
    "a small village",
    "the old castle",
    "the river",
    "a green hill",
    "the beach",
    "the mountains",
]
THINGS = [
    "a golden key",
    "a red ball",
    "an old map",
    "a silver bell",
    "a blue stone",
    "a small lamp",
    "a paper boat",
    "a warm scarf",
]
TRAITS = "brave kind clever shy curious happy quiet gentle".split()
COLOURS = {
    "the sky": "blue",
    "grass": "green",
    "snow": "white",
    "a banana": "yellow",
    "coal": "black",
    "a tomato": "red",
    "an orange": "orange",
    "a plum": "purple",
}
HELLO = {
    "French": "Bonjour !",
    "Spanish": "¡Hola!",
    "German": "Guten Tag!",
    "Italian": "Ciao!",
    "Japanese": "こんにちは",
    "Greek": "Γειά σου!",
    "Russian": "Привет!",
    "Chinese": "你好",
    "Korean": "안녕하세요",
    "emoji": "👋🙂",
}
WORDS = (
    "apple river stone lamp green quick bright silver window table cloud paper music garden winter summer orange "
    "yellow copper forest"
).split()
WEATHER = "sunny cloudy rainy windy snowy foggy".split()
# what it does: (name, code)
CODE = {
    "adds two numbers": ("add", "int {f}(int a, int b) {{\n    return a + b;\n}}"),
    "multiplies two numbers": ("mul", "int {f}(int a, int b) {{\n    return a * b;\n}}"),
    "returns the larger of two numbers": ("max", "int {f}(int a, int b) {{\n    return a > b ? a : b;\n}}"),
    "returns the square of a number": ("square", "int {f}(int x) {{\n    return x * x;\n}}"),
    "prints hello": ("hello", 'void {f}(void) {{\n    puts("hello");\n}}'),
    "sums an array": (
        "sum",
        "int {f}(const int *a, int n) {{\n    int s = 0;\n    for (int i = 0; i < n; i++) {{\n"
        "        s += a[i];\n    }}\n    return s;\n}}",
    ),
}
WHO = "Hello! I am a tiny demonstration model with the Gemma 4 architecture. Ask me for a capital, a sum or a story."

# What the model thinks before it answers a question of each kind.
THOUGHTS = {
    "capital": "The user asks for a capital city.",
    "capital_of": "The user names a capital and wants the country.",
    "sum": "The user wants a sum.",
    "story": "The user wants a story.",
    "count": "The user wants me to count.",
    "repeat": "The user wants me to repeat words.",
    "list": "The user wants a list.",
    "json": "The user wants JSON.",
    "colour": "The user asks for a colour.",
    "hello": "The user wants a greeting.",
    "code": "The user wants code.",
    "who": "The user wants to know who I am.",
    "reverse": "The user wants the words in reverse order.",
    "letters": "The user wants the letters.",
}

QUOTE = '<|"|>'
ASSISTANT = "You are a helpful assistant."


# ---- questions without context: each function gives (question, answer)


def article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def story_text(r, animal=None):
    a = animal or r.choice(ANIMALS)
    b = r.choice([x for x in ANIMALS if x != a])
    home = r.choice(PLACES)
    found, treasure = r.sample(THINGS, 2)
    n, m = r.sample(NAMES, 2)
    trait, trait2 = r.sample(TRAITS, 2)
    begin = r.choice(
        [
            f"One morning {n} found {found} under a tree.",
            f"One day {n} lost {found} and could not find it.",
            f"One evening {n} heard a song and followed it.",
        ]
    )
    talk = r.choice(
        [
            f'"Can you help me?" asked {n}. "Of course," said {m}.',
            f'"Where are you going?" asked {m}. "Come and see," said {n}.',
        ]
    )
    search = r.choice(
        [
            f"Together they walked to {r.choice(PLACES)} and found {treasure}.",
            f"They looked everywhere, and at last they found {treasure}.",
        ]
    )
    end = r.choice(
        [f"{n} and {m} were happy and became friends.", f"From that day on {n} and {m} were the best of friends."]
    )
    return (
        f"Once upon a time there was {article(trait)} {a} named {n} who lived near {home}. {begin} "
        f"On the way {n} met {m}, {article(trait2)} {b}. {talk} {search} {end}"
    )


def ask_capital(r):
    country = r.choice(list(CAPITALS))
    question = r.choice(
        [f"What is the capital of {country}?", f"Tell me the capital of {country}.", f"capital of {country}"]
    )
    return question, f"The capital of {country} is {CAPITALS[country]}."


def ask_capital_of(r):
    country = r.choice(list(CAPITALS))
    city = CAPITALS[country]
    return f"{city} is the capital of which country?", f"{city} is the capital of {country}."


def ask_sum(r):
    a, b = r.randint(0, 20), r.randint(0, 20)
    return r.choice([f"What is {a} + {b}?", f"Add {a} and {b}."]), f"{a} + {b} = {a + b}"


def ask_story(r):
    if r.random() < 0.7:
        animal = r.choice(ANIMALS)
        question = r.choice(
            [f"Tell me a story about {article(animal)}.", f"Write a short story about {article(animal)}."]
        )
        return question, story_text(r, animal)
    return r.choice(["Tell me a story.", "Please tell me a short story."]), story_text(r)


def ask_count(r):
    a = r.randint(0, 12)
    b = a + r.randint(2, 9)
    return f"Count from {a} to {b}.", ", ".join(map(str, range(a, b + 1)))


def ask_repeat(r):
    words = " ".join(r.sample(WORDS, r.randint(1, 4)))
    return f"Repeat after me: {words}", words


def ask_reverse(r):
    words = r.sample(WORDS, 3)
    return f"Say these words backwards: {' '.join(words)}", " ".join(words[::-1])


def ask_letters(r):
    word = r.choice(WORDS)
    return f"Spell {word}.", "-".join(word.upper())


def ask_list(r):
    what, source = r.choice([("animals", ANIMALS), ("names", NAMES), ("countries", list(CAPITALS)), ("words", WORDS)])
    n = r.randint(2, 5)
    return f"List {n} {what}.", "\n".join(f"{i + 1}. {x}" for i, x in enumerate(r.sample(source, n)))


def ask_json(r):
    name, age, city = r.choice(NAMES), r.randint(1, 99), r.choice(list(CAPITALS.values()))
    question = f"Give me a JSON object with the name {name}, the age {age} and the city {city}."
    return question, json.dumps(dict(name=name, age=age, city=city))


def ask_colour(r):
    thing = r.choice(list(COLOURS))
    return f"What colour is {thing}?", f"{thing[0].upper()}{thing[1:]} is {COLOURS[thing]}."


def ask_hello(r):
    language = r.choice(list(HELLO))
    return f"Say hello in {language}.", HELLO[language]


def ask_code(r):
    what = r.choice(list(CODE))
    name, code = CODE[what]
    return f"Write a C function that {what}.", "```c\n" + code.format(f=name) + "\n```"


def ask_who(r):
    return r.choice(["Who are you?", "What are you?", "Hello!", "Hi", "hello"]), WHO


QUESTIONS = {
    "capital": ask_capital,
    "capital_of": ask_capital_of,
    "sum": ask_sum,
    "story": ask_story,
    "count": ask_count,
    "repeat": ask_repeat,
    "list": ask_list,
    "json": ask_json,
    "colour": ask_colour,
    "hello": ask_hello,
    "code": ask_code,
    "who": ask_who,
    "reverse": ask_reverse,
    "letters": ask_letters,
}
# How often each kind is asked.
SHARES = (
    "capital capital capital_of sum sum sum sum story story story count repeat list json colour hello code who "
    "reverse letters"
).split()


def single(r):
    """One question and its answer, without any context: (kind, question, answer)."""
    kind = r.choice(SHARES)
    return kind, *QUESTIONS[kind](r)


def pirate(answer):
    return "Arr! " + answer.rstrip(".!") + ", matey!"


# ---- tools

# name: (description, its result for a city, questions, the answer)
TOOLS = {
    "get_weather": (
        "Get the current weather for a city.",
        lambda r: f"{r.choice(WEATHER)}, {r.randint(-5, 35)} degrees",
        ["What is the weather in {c}?", "How is the weather in {c}?", "Is it raining in {c}?"],
        "The weather in {c} is {v}.",
    ),
    "get_time": (
        "Get the local time of a city.",
        lambda r: f"{r.randint(0, 23):02d}:{r.randint(0, 59):02d}",
        ["What time is it in {c}?", "Tell me the time in {c}."],
        "It is {v} in {c}.",
    ),
}


def declaration(name):
    q = QUOTE
    return (
        f"<|tool>declaration:{name}{{description:{q}{TOOLS[name][0]}{q},parameters:{{properties:{{city:{{"
        f"description:{q}The name of the city.{q},type:{q}STRING{q}}}}},required:[{q}city{q}],type:{q}OBJECT{q}}}}}<tool|>"
    )


# ---- conversations


def turn(role, text):
    return (f"<|turn>{role}\n{text}<turn|>\n", False)


def reply(text):
    return [("<|turn>model\n", False), (f"{text}<turn|>\n", True)]


def question_and_reply(r):
    _, question, answer = single(r)
    return [turn("user", question), *reply(answer)]


def chat_with_tool_call(r):
    """A tool is called, its answer comes back, the model answers."""
    offered = r.sample(list(TOOLS), r.randint(1, 2))
    name = r.choice(offered)
    _, result, questions, answer = TOOLS[name]
    city = r.choice(list(CAPITALS.values()))
    value = result(r)
    system = r.choice(["", "", ASSISTANT])
    question = r.choice(questions).format(c=city)
    response = r.choice(
        [
            f"response:{name}{{value:{QUOTE}{value}{QUOTE}}}<tool_response|>",
            f"response:{name}{{result:{QUOTE}{value}{QUOTE}}}<tool_response|>",
        ]
    )
    return [
        turn("system", system + "".join(declaration(x) for x in offered)),
        turn("user", question),
        ("<|turn>model\n", False),
        (f"<|tool_call>call:{name}{{city:{QUOTE}{city}{QUOTE}}}<tool_call|><|tool_response>", True),
        (response, False),
        (answer.format(c=city, v=value) + "<turn|>\n", True),
    ]


def chat_with_idle_tool(r):
    """A tool is offered but not needed."""
    return [turn("system", declaration(r.choice(list(TOOLS)))), *question_and_reply(r)]


def chat_with_thought(r):
    kind, question, answer = single(r)
    system = r.choice(["", ASSISTANT])
    return [
        turn("system", "<|think|>\n" + system),
        turn("user", question),
        ("<|turn>model\n", False),
        (f"<|channel>thought\n{THOUGHTS[kind]}\n<channel|>{answer}<turn|>\n", True),
    ]


def chat_with_memory(r):
    """Something said early is asked for later, sometimes beyond the sliding window."""
    name = r.choice(NAMES)
    city = r.choice(list(CAPITALS.values()))
    out = [turn("user", f"My name is {name} and I live in {city}."), *reply(f"Nice to meet you, {name}!")]
    for _ in range(r.choice([0, 1, 1, 2, 3])):
        out += question_and_reply(r)
    if r.random() < 0.5:
        return out + [turn("user", "What is my name?"), *reply(f"Your name is {name}.")]
    return out + [turn("user", "Where do I live?"), *reply(f"You live in {city}.")]


def chat_with_secret(r):
    """The system prompt holds the answer."""
    word = r.choice(WORDS)
    out = [turn("system", r.choice([f"The secret word is {word}.", f"{ASSISTANT} The secret word is {word}."]))]
    if r.random() < 0.5:
        out += question_and_reply(r)
    return out + [turn("user", "What is the secret word?"), *reply(f"The secret word is {word}.")]


def chat_plain(r):
    out = []
    if r.random() < 0.15:
        out.append(turn("system", ASSISTANT))
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        out += question_and_reply(r)
    return out


def chat(r):
    """One conversation, BOS included."""
    u = r.random()
    if u < 0.12:
        body = chat_with_tool_call(r)
    elif u < 0.17:
        body = chat_with_idle_tool(r)
    elif u < 0.27:
        body = chat_with_thought(r)
    elif u < 0.37:
        body = chat_with_memory(r)
    elif u < 0.45:
        body = chat_with_secret(r)
    else:
        body = chat_plain(r)
    return [("<bos>", False), *body]


def pirate_chat(r):
    """A conversation in which every answer is a pirate's."""
    out = [("<bos>", False)]
    for _ in range(r.choice([1, 1, 2])):
        _, question, answer = single(r)
        out += [turn("user", question), *reply(pirate(answer))]
    return out
