"""Writes a Hugging Face Gemma 4 text model as GGUF, with the names of keys and tensors that GGUF readers expect."""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants


def to_numpy(tensor):
    return tensor.detach().float().contiguous().numpy()


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_config(w, c, name):
    """The hyperparameters of a Gemma4TextConfig. Returns the head size of full layers."""
    is_full = [kind == "full_attention" for kind in c.layer_types]
    full = c.per_layer_config[is_full.index(True)]
    sliding = c.per_layer_config[is_full.index(False)]
    n_layers = c.num_hidden_layers
    w.add_name(name)
    w.add_block_count(n_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv([int(c.per_layer_config[i].num_key_value_heads) for i in range(n_layers)])
    width = c.intermediate_size
    if c.use_double_wide_mlp:
        width = [width * (2 if c.kv_sharing_modes[i] == "reuse" else 1) for i in range(n_layers)]
    w.add_feed_forward_length(width)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_sliding_window(c.sliding_window)
    w.add_sliding_window_pattern([not f for f in is_full])
    w.add_shared_kv_layers(c.num_kv_shared_layers)
    w.add_embedding_length_per_layer_input(c.hidden_size_per_layer_input or 0)
    w.add_key_length(full.head_dim)
    w.add_value_length(full.head_dim)
    w.add_key_length_swa(sliding.head_dim)
    w.add_value_length_swa(sliding.head_dim)
    w.add_rope_dimension_count(full.head_dim)
    w.add_rope_dimension_count_swa(sliding.head_dim)
    w.add_rope_freq_base(c.rope_parameters["full_attention"]["rope_theta"])
    w.add_float32("gemma4.rope.freq_base_swa", c.rope_parameters["sliding_attention"]["rope_theta"])
    if c.final_logit_softcapping:
        w.add_final_logit_softcapping(c.final_logit_softcapping)
    if c.enable_moe_block:
        w.add_expert_count(c.num_experts)
        w.add_expert_used_count(c.top_k_experts)
        w.add_expert_feed_forward_length(c.moe_intermediate_size)
    return full.head_dim


def write_vocab(w, vocab, template=None):
    n = len(vocab["tokens"])
    w.add_tokenizer_model("gemma4")
    w.add_token_list([t.encode() for t in vocab["tokens"]])
    w.add_token_scores([0.0] * n)
    w.add_token_types(vocab["types"])
    w.add_token_merges(vocab["merges"] or ["a b"])
    w.add_add_space_prefix(False)
    w.add_add_bos_token(True)
    w.add_bos_token_id(2)
    w.add_eos_token_id(vocab.get("eos", 106))
    w.add_pad_token_id(0)
    w.add_unk_token_id(3)
    if template:
        w.add_chat_template(template)


LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}
LAYER_KV = {"attn_k": "self_attn.k_proj", "attn_k_norm": "self_attn.k_norm"}
LAYER_V = {"attn_v": "self_attn.v_proj"}
LAYER_PER_LAYER_EMBEDDING = {
    "inp_gate": "per_layer_input_gate",
    "proj": "per_layer_projection",
    "post_norm": "post_per_layer_input_norm",
}
LAYER_EXPERTS = {
    "post_ffw_norm_1": "post_feedforward_layernorm_1",
    "post_ffw_norm_2": "post_feedforward_layernorm_2",
    "pre_ffw_norm_2": "pre_feedforward_layernorm_2",
    "ffn_gate_inp": "router.proj",
}
# Those whose names do not end in .weight on both sides.
EXPERTS = {
    "ffn_gate_inp.scale": "router.scale",
    "ffn_gate_up_exps.weight": "experts.gate_up_proj",
    "ffn_down_exps.weight": "experts.down_proj",
    "ffn_down_exps.scale": "router.per_expert_scale",
}


def layer_names(state, c, i):
    """(GGUF name, Hugging Face name) of a layer's tensors, both without the layer's prefix."""
    owns_kv = c.kv_sharing_modes[i] != "reuse"
    names = dict(LAYER)
    if owns_kv:
        names |= LAYER_KV
    if owns_kv and f"model.layers.{i}.self_attn.v_proj.weight" in state:
        names |= LAYER_V
    if c.hidden_size_per_layer_input:
        names |= LAYER_PER_LAYER_EMBEDDING
    if c.enable_moe_block:
        names |= LAYER_EXPERTS
    yield from ((f"{ours}.weight", f"{theirs}.weight") for ours, theirs in names.items())
    if c.enable_moe_block:
        yield from EXPERTS.items()
    yield "layer_output_scale.weight", "layer_scalar"


def tensor_names(state, c):
    """(GGUF name, key of the state dict) of every stored tensor."""
    yield "token_embd.weight", "model.embed_tokens.weight"
    if c.hidden_size_per_layer_input:
        yield "per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight"
        yield "per_layer_model_proj.weight", "model.per_layer_model_projection.weight"
        yield "per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight"
    yield "output_norm.weight", "model.norm.weight"
    for i in range(c.num_hidden_layers):
        for ours, theirs in layer_names(state, c, i):
            yield f"blk.{i}.{ours}", f"model.layers.{i}.{theirs}"


def rope_factors(c, head_dim_full):
    """Full layers rotate a part of each head only; the rest has a frequency of nearly zero."""
    rotated = int(head_dim_full * c.rope_parameters["full_attention"]["partial_rotary_factor"] / 2)
    return np.array([1.0] * rotated + [1e30] * (head_dim_full // 2 - rotated), dtype=np.float32)


def tensors(state, c, head_dim_full):
    """(GGUF name, float32 array) from a Gemma4ForCausalLM state dict."""
    for ours, theirs in tensor_names(state, c):
        yield ours, to_numpy(state[theirs])
        if ours == "output_norm.weight":
            yield "rope_freqs.weight", rope_factors(c, head_dim_full)


def write_model(path, model, vocab, name, template=None, matrix_type=T.F32):
    """Matrices are stored as `matrix_type`, vectors and routers as F32."""
    w = gguf.GGUFWriter(path, "gemma4")
    head_dim_full = write_config(w, model.config, name)
    write_vocab(w, vocab, template)
    for tensor, array in tensors(model.state_dict(), model.config, head_dim_full):
        kind = matrix_type if array.ndim >= 2 and "ffn_gate_inp" not in tensor else T.F32
        if kind == T.F32:
            w.add_tensor(tensor, array)
        else:
            w.add_tensor(tensor, quants.quantize(array, kind), raw_dtype=kind)
    close(w)


def write_arrays(path, arrays):
    """Arrays of float32 and int32 in a GGUF container."""
    w = gguf.GGUFWriter(path, "golden")
    for name, array in arrays.items():
        w.add_tensor(name, np.ascontiguousarray(array))
    close(w)
