"""The demonstration model's vocabulary: how it is learnt, and an encoder for making training data."""

import json
import re

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

N_VOCAB = 4096
N_CONTROL = 107  # the ids that are Gemma 4's own, so that control tokens have the ids that tools expect
NORMAL, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 3, 4, 5, 6  # GGUF token types
MEDIA = ["<|image>", "<|audio>", "<|image|>", "<|audio|>", "<image|>", "<audio|>", "<|video|>"]
WORD = "▁*[^▁]+|▁+"


def fixed_tokens(gemma):
    """(token, type) of everything that is not learnt: control tokens, runs of newlines and spaces, media, bytes."""
    fixed = list(zip(gemma["tokens"][:N_CONTROL], gemma["types"][:N_CONTROL]))
    fixed += [("\n" * n, USER_DEFINED) for n in range(1, 9)]
    fixed += [("▁" * n, USER_DEFINED) for n in range(2, 17)]
    fixed += [(token, CONTROL) for token in MEDIA]
    fixed += [(f"<0x{b:02X}>", BYTE) for b in range(256)]
    return fixed


def learn_merges(texts, n_tokens):
    """Byte pair encoding over `texts`: (tokens in the order learnt, merges as "left right")."""
    bpe = Tokenizer(models.BPE(unk_token=None))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "removed"), pre_tokenizers.Split(Regex(WORD), "isolated")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens,
        min_frequency=2,
        limit_alphabet=400,
        show_progress=False,
        initial_alphabet=[chr(c) for c in range(33, 127)] + ["▁"],
    )
    bpe.train_from_iterator(texts, trainer)
    learnt = json.loads(bpe.to_str())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in learnt["merges"]]
    return sorted(learnt["vocab"], key=learnt["vocab"].get), merges


def build_vocab(texts, gemma, n=N_VOCAB):
    """`gemma`: Gemma 4's own vocabulary, of which the first ids are taken. Gives what vocab.json holds."""
    fixed = fixed_tokens(gemma)
    learnt, merges = learn_merges(texts, n - len(fixed))
    seen = {token for token, _ in fixed}
    pairs = fixed + [(token, NORMAL) for token in learnt if token not in seen]
    have = {token for token, _ in pairs}
    merges = [m for m in merges if "".join(m.split(" ")) in have]
    space_runs = [f'{"▁" * a} {"▁" * b}' for a in range(1, 16) for b in range(1, 16) if a + b <= 16 and a >= b]
    merges += [m for m in space_runs if m not in set(merges)]
    while len(pairs) < n:
        pairs.append((f"<pad{len(pairs)}>", UNUSED))
    tokens, types = [list(column) for column in zip(*pairs[:n])]
    return dict(tokens=tokens, types=types, merges=merges, bos=2, eos=106)


class Encoder:
    """The Gemma 4 tokenizer in plain Python: slow, and only for making training data."""

    def __init__(self, vocab):
        self.ids = {}
        for i, token in enumerate(vocab["tokens"]):
            self.ids.setdefault(token, i)
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(vocab["merges"])}
        whole = [t for t, kind in zip(vocab["tokens"], vocab["types"]) if kind in (CONTROL, USER_DEFINED)]
        self.whole = re.compile("|".join(re.escape(t) for t in sorted(whole, key=len, reverse=True)))
        self.word = re.compile(WORD)
        self.memo = {}

    def encode_word(self, word):
        if word in self.memo:
            return self.memo[word]
        parts = list(word)
        while len(parts) > 1:
            never = 1 << 30
            rank, i = min((self.rank.get((parts[i], parts[i + 1]), never), i) for i in range(len(parts) - 1))
            if rank == never:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        out = []
        for part in parts:
            out += [self.ids[part]] if part in self.ids else [self.ids[f"<0x{b:02X}>"] for b in part.encode()]
        self.memo[word] = out
        return out

    def encode_plain(self, text):
        return [i for word in self.word.findall(text) for i in self.encode_word(word)]

    def __call__(self, text):
        text = text.replace(" ", "▁")
        out, done = [], 0
        for match in self.whole.finditer(text):
            out += self.encode_plain(text[done : match.start()])
            out.append(self.ids[match.group()])
            done = match.end()
        return out + self.encode_plain(text[done:])
