#!/usr/bin/env python3
"""Turn what train.py made into GGUF files, golden logits and examples.

Writes tiny-f32.gguf, tiny-q8_0.gguf, with --llama-quantize tiny-q4_k_m.gguf, tiny-pirate-lora.gguf, vocab.json,
examples.json, and for each model NAME.golden.gguf: the ids of a chat, and the logits of its last 32 positions as
transformers computes them from the very weights in that file (dequantised), without and with the adapter.
"""

import argparse
import json
import os
import subprocess

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf import quants
from transformers import Gemma4ForCausalLM

import hf_gguf
from tokenizer import Encoder
from train import LORA_ALPHA, LORA_RANK

NAME = "facet tiny (demonstration)"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + (m['content'] | trim) + '<turn|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|turn>model\\n' }}{% endif %}"
)
LORA_MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GOLDEN_STORY = (
    "Once upon a time there was a kind fox named Hugo who lived near the forest. One morning Hugo found a warm scarf "
    'under a tree. On the way Hugo met Tina, a clever horse. "Can you help me?" asked Hugo. "Of course," said Tina. '
    "Together they walked to the forest and found an old map. From that day on Hugo and Tina were the best of friends."
)
GOLDEN_CHAT = [
    ("My name is Anna and I live in Rome.", "Nice to meet you, Anna!"),
    ("Tell me a story about a fox.", GOLDEN_STORY),
    ("What is my name?", "Your name is Anna."),
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
]
N_GOLDEN = 32  # positions
EXAMPLES = [
    "What is the capital of Italy?",
    "What is 7 + 5?",
    "Count from 3 to 8.",
    "Tell me a story about a fox.",
    "Give me a JSON object with the name Anna, the age 7 and the city Rome.",
    "Say hello in Japanese.",
    "Write a C function that adds two numbers.",
    "List 3 animals.",
    "Who are you?",
]
ENDS = ("<turn|>", "<eos>", "<|tool_response>")


def open_turn(question):
    return f"<|turn>user\n{question}<turn|>\n<|turn>model\n"


def load_model(trained):
    return Gemma4ForCausalLM.from_pretrained(f"{trained}/model", dtype=torch.float32).eval()


def load_weights(model, path):
    """Puts a GGUF file's dequantised tensors into the transformers model."""
    stored = {}
    for t in gguf.GGUFReader(path).tensors:
        data = np.asarray(t.data)
        stored[t.name] = data if t.tensor_type == T.F32 else quants.dequantize(data, t.tensor_type)
    state = model.state_dict()
    with torch.no_grad():
        for ours, theirs in hf_gguf.tensor_names(state, model.config):
            values = torch.from_numpy(np.array(stored[ours]))
            state[theirs].copy_(values.reshape(state[theirs].shape))
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    return model


def add_adapter(model, lora):
    """Merges the adapter into the weights."""
    for key, a in lora.items():
        if key.endswith(".a"):
            weight = model.get_parameter(key[:-2] + ".weight")
            with torch.no_grad():
                weight.add_(LORA_ALPHA / LORA_RANK * (lora[key[:-2] + ".b"] @ a))
    return model


def write_adapter(path, lora):
    w = gguf.GGUFWriter(path, "gemma4")
    w.add_type("adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", LORA_ALPHA)
    w.add_name("facet tiny pirate adapter")
    for key, value in sorted(lora.items()):  # model.layers.3.mlp.up_proj.a
        parts = key.split(".")
        module = LORA_MODULES[".".join(parts[3:-1])]
        w.add_tensor(f"blk.{parts[2]}.{module}.weight.lora_{parts[-1]}", value.float().numpy())
    hf_gguf.close(w)


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)[None], use_cache=False).logits[0].float().numpy()


def answer(model, encode, vocab, question, limit=120):
    """The greedy answer."""
    ids = encode("<bos>" + open_turn(question))
    out = []
    while len(out) < limit:
        token = int(logits(model, ids + out)[-1].argmax())
        if vocab["tokens"][token] in ENDS:
            break
        out.append(token)
    return "".join(vocab["tokens"][t] for t in out).replace("▁", " ")


def write_golden(path, ids, plain, adapted):
    arrays = {
        "ids": np.array(ids, dtype=np.int32),
        "logits": plain[-N_GOLDEN:].astype(np.float32),
        "logits.adapter": adapted[-N_GOLDEN:].astype(np.float32),
    }
    hf_gguf.write_arrays(path, arrays)


def write_models(trained, vocab, out, llama_quantize):
    model = load_model(trained)
    hf_gguf.write_model(f"{out}/tiny-f32.gguf", model, vocab, NAME, TEMPLATE)
    hf_gguf.write_model(f"{out}/tiny-q8_0.gguf", model, vocab, NAME, TEMPLATE, T.Q8_0)
    names = ["tiny-f32", "tiny-q8_0"]
    if llama_quantize:
        command = [llama_quantize, f"{out}/tiny-f32.gguf", f"{out}/tiny-q4_k_m.gguf", "q4_k_m"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        names.append("tiny-q4_k_m")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained")
    parser.add_argument("out")
    parser.add_argument("--llama-quantize", help="a program that makes the q4_k_m file")
    args = parser.parse_args()

    os.makedirs(args.out, exist_ok=True)
    with open(f"{args.trained}/vocab.json", encoding="utf-8") as f:
        vocab = json.load(f)
    with open(f"{args.out}/vocab.json", "w", encoding="utf-8") as f:
        json.dump(vocab, f, ensure_ascii=False)
    lora = torch.load(f"{args.trained}/lora.pt")
    names = write_models(args.trained, vocab, args.out, args.llama_quantize)
    write_adapter(f"{args.out}/tiny-pirate-lora.gguf", lora)

    encode = Encoder(vocab)
    chat = "<bos>" + "<turn|>\n".join(open_turn(question) + reply for question, reply in GOLDEN_CHAT)
    ids = encode(chat)
    print("golden prompt", len(ids), "tokens")
    for name in names:
        model = load_weights(load_model(args.trained), f"{args.out}/{name}.gguf")
        plain = logits(model, ids)
        adapted = logits(add_adapter(model, lora), ids)
        write_golden(f"{args.out}/{name}.golden.gguf", ids, plain, adapted)

    plain, pirate = load_model(args.trained), add_adapter(load_model(args.trained), lora)
    examples = [
        dict(question=q, answer=answer(plain, encode, vocab, q), pirate=answer(pirate, encode, vocab, q))
        for q in EXAMPLES
    ]
    with open(f"{args.out}/examples.json", "w", encoding="utf-8") as f:
        json.dump(examples, f, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main()
