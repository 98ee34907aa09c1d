#!/usr/bin/env python3
"""Train the demonstration model and its LoRA adapter from scratch, on the CPU. See README.md for how it was called.

TEXT is a public domain book: Mary Shelley's Frankenstein. Writes vocab.json, model/ (a transformers checkpoint),
lora.pt and book_test.pt (the tokens of the book that were kept from training).
"""

import argparse
import json
import os
import random
import re
import time

import torch
from transformers import Gemma4ForCausalLM, Gemma4TextConfig

import corpus
from tokenizer import N_VOCAB, Encoder, build_vocab

LAYER_SCALES = [
    1.0,
    0.95,
    1.05,
    0.9,
    1.1,
    0.95,
    1.0,
    1.05,
]  # not all one, so that an engine which drops them shows it
LORA_RANK, LORA_ALPHA = 8, 16.0
SOFT_CAP = 30.0


def config():
    """Every feature of E2B in small: sliding and full layers with their own head sizes, shared KV, double-wide
    feed-forward, per-layer embeddings, a soft cap on the logits."""
    return Gemma4TextConfig(
        vocab_size=N_VOCAB,
        vocab_size_per_layer_input=N_VOCAB,
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=64,
        global_head_dim=128,
        layer_types=(["sliding_attention"] * 3 + ["full_attention"]) * 2,
        num_kv_shared_layers=4,
        use_double_wide_mlp=True,
        hidden_size_per_layer_input=32,
        sliding_window=128,
        max_position_embeddings=4096,
        final_logit_softcapping=SOFT_CAP,
        rms_norm_eps=1e-6,
    )


class Data:
    """An endless stream of tokens: conversations, with pieces of the book between them."""

    PIECE = 400

    def __init__(self, encode, book, seed, chat=corpus.chat, book_share=0.12):
        self.random = random.Random(seed)
        self.encode, self.book, self.chat, self.book_share = encode, book, chat, book_share
        self.ids, self.learn = [], []

    def fill(self, n):
        while len(self.ids) < n:
            if self.random.random() < self.book_share * 0.5:
                start = self.random.randrange(len(self.book) - self.PIECE)
                self.ids += [2] + self.book[start : start + self.PIECE]
                self.learn += [0] + [1] * self.PIECE
                continue
            for text, learn in self.chat(self.random):
                ids = self.encode(text)
                self.ids += ids
                self.learn += [int(learn)] * len(ids)

    def batch(self, rows, n):
        """Inputs, targets, and which targets count: [rows, n] each."""
        size = rows * n
        self.fill(size + 1)
        ids = torch.tensor(self.ids[: size + 1])
        learn = torch.tensor(self.learn[: size + 1])
        del self.ids[:size], self.learn[:size]
        return ids[:-1].view(rows, n), ids[1:].view(rows, n), learn[1:].view(rows, n).float()


def loss_of(model, inputs, targets, learn):
    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state
    keep = learn.bool()
    logits = model.lm_head(hidden[keep]).float()
    logits = SOFT_CAP * torch.tanh(logits / SOFT_CAP)
    return torch.nn.functional.cross_entropy(logits, targets[keep])


def rate(step, warm_up, time_share):
    """The learning rate's factor: a linear start, then full, then down over the last 60% of the time."""
    return min(1, (step + 1) / warm_up) * (1 if time_share < 0.4 else max(0.02, (1 - time_share) / 0.6))


def optimise(model, params, data, minutes, lr, name, every=50, warm_up=100, rows=8, n=384):
    if not minutes:
        return
    optimizer = torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.95), weight_decay=0.01)
    begin, step, average = time.time(), 0, None
    while (time_share := (time.time() - begin) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = lr * rate(step, warm_up, time_share)
        loss = loss_of(model, *data.batch(rows, n))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        step += 1
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        if step % every == 0:
            seconds = time.time() - begin
            speed = step * rows * n / seconds
            print(f"{name} step {step} {seconds:.0f}s loss {average:.4f} {speed:.0f} tok/s", flush=True)


class Lora(torch.nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.lin = linear
        self.scale = alpha / rank
        self.a = torch.nn.Parameter(torch.randn(rank, linear.in_features) * 0.02)
        self.b = torch.nn.Parameter(torch.zeros(linear.out_features, rank))

    @property
    def weight(self):
        return self.lin.weight

    def forward(self, x):
        return self.lin(x) + self.scale * (x @ self.a.T @ self.b.T)


def add_lora(model):
    """Puts an adapter beside every matrix of attention and feed-forward; only adapters learn from then on."""
    for p in model.parameters():
        p.requires_grad_(False)
    for layer in model.model.layers:
        for parent, names in (
            (layer.self_attn, ["q_proj", "k_proj", "v_proj", "o_proj"]),
            (layer.mlp, ["gate_proj", "up_proj", "down_proj"]),
        ):
            for name in names:
                linear = getattr(parent, name, None)
                if isinstance(linear, torch.nn.Linear):
                    setattr(parent, name, Lora(linear, LORA_RANK, LORA_ALPHA))


def new_model():
    model = Gemma4ForCausalLM(config())
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    with torch.no_grad():
        for layer, scale in zip(model.model.layers, LAYER_SCALES):
            layer.layer_scalar.fill_(scale)
        model.model.embed_tokens.weight.normal_(0, 0.02)
        model.model.embed_tokens_per_layer.weight.normal_(0, 0.02)
    return model


def learn_vocab(book, gemma_vocab):
    r = random.Random(4)
    chats = ["".join(text for text, _ in corpus.chat(r)) for _ in range(20000)]
    control = re.compile(r"<[^<>]{1,20}>")
    return build_vocab([book] + [control.sub("\n", chat) for chat in chats], gemma_vocab)


def held_out_loss(model, ids):
    with torch.no_grad():
        tokens = torch.tensor([2] + ids[:1023])[None]
        logits = model(input_ids=tokens).logits.float()
        return torch.nn.functional.cross_entropy(logits[0, :-1], tokens[0, 1:]).item()


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("out")
    parser.add_argument("--vocab", required=True, help="Gemma 4's vocabulary: JSON with tokens and types")
    parser.add_argument("--from", dest="start", help="go on from what an earlier run wrote")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--lora-minutes", type=float, default=5)
    args = parser.parse_args()

    os.makedirs(args.out, exist_ok=True)
    torch.manual_seed(4)
    with open(args.text, encoding="utf-8") as f:
        book = f.read().replace("\r", "")
    vocab = load(f"{args.start}/vocab.json") if args.start else learn_vocab(book, load(args.vocab))
    with open(f"{args.out}/vocab.json", "w", encoding="utf-8") as f:
        json.dump(vocab, f, ensure_ascii=False)
    encode = Encoder(vocab)
    ids = encode(book)
    cut = len(ids) * 9 // 10
    print("vocab", len(vocab["tokens"]), "merges", len(vocab["merges"]), "book tokens", len(ids), flush=True)

    model = new_model()
    if args.start:
        model = Gemma4ForCausalLM.from_pretrained(f"{args.start}/model", dtype=torch.float32)
    data = Data(encode, ids[:cut], 3 if args.start else 1)
    optimise(model, list(model.parameters()), data, args.minutes, args.lr, "base")
    model.save_pretrained(f"{args.out}/model")
    torch.save(ids[cut:], f"{args.out}/book_test.pt")
    print("held-out book loss", held_out_loss(model, ids[cut:]), flush=True)

    add_lora(model)
    data = Data(encode, ids[:cut], 2, corpus.pirate_chat, 0)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimise(model, learning, data, args.lora_minutes, 2e-3, "lora", every=100, warm_up=20, n=256)
    torch.save({n: p.detach() for n, p in model.named_parameters() if p.requires_grad}, f"{args.out}/lora.pt")


if __name__ == "__main__":
    main()
