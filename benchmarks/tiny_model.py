"""Makes a language model of 2 MB for `benchmarks.foreign_servers`. Runs inside the server's own environment.

python tiny_model.py (gguf FILE | transformers FOLDER)

Its weights are random, but for the last step: there each word of one fixed reply calls the next. So a real server does all
of its real work (template, tokens, attention, sampling, streaming), and what comes out can still be an answer. Like a small
Qwen it reads ChatML and thinks aloud in <think> unless `enable_thinking` is false. Tokens are bytes.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

THOUGHT = ["<think>", "The", " passages", " say", " so.", "</think>"]
ANSWER = ["Our", " help", " article", " explains", " this.", " [1]"]
END = "<|im_end|>"
SPECIAL = ["<|endoftext|>", "<|im_start|>", END]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
CONTEXT, WIDTH, HIDDEN, LAYERS, HEADS = 16_384, 128, 256, 2, 4


def byte_letters() -> dict[int, str]:
    """The letter that stands for each byte in a GPT-2 vocabulary."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    odd = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + at) for at, byte in enumerate(odd)}


def spelled(text: str) -> str:
    """`text` in the letters of the vocabulary."""
    letters = byte_letters()
    return "".join(letters[byte] for byte in text.encode())


def vocabulary() -> list[str]:
    """All tokens: bytes, the double line break, the words of the reply, the special ones."""
    words = [word for word in THOUGHT + ANSWER if not word.startswith("<")]
    return [*byte_letters().values(), spelled("\n\n"), *map(spelled, words), "<think>", "</think>", *SPECIAL]


def successors(tokens: list[str]) -> list[tuple[int, int]]:
    """Which token calls which, by number."""
    chain = [
        spelled("\n"),
        *(word if word.startswith("<") else spelled(word) for word in THOUGHT),
        spelled("\n\n"),
        *map(spelled, ANSWER),
        END,
    ]
    numbers = [tokens.index(token) for token in chain]
    return list(pairwise(numbers))


def weights(tokens: list[str]) -> dict[str, Any]:
    """Every tensor by its name in a Llama model."""
    import numpy as np

    random = np.random.default_rng(0)

    def noise(rows: int, columns: int, size: float) -> Any:
        return random.normal(0, size, (rows, columns)).astype(np.float32)

    embedding = noise(len(tokens), WIDTH, 1.0)
    last = noise(len(tokens), WIDTH, 0.01)
    for before, after in successors(tokens):
        last[after] = 3 * embedding[before] / np.linalg.norm(embedding[before])
    ones = np.ones(WIDTH, dtype=np.float32)
    made = {"model.embed_tokens": embedding, "model.norm": ones, "lm_head": last}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            made[f"{at}.self_attn.{name}"] = noise(WIDTH, WIDTH, 0.02)
        for name, shape in (
            ("gate_proj", (HIDDEN, WIDTH)),
            ("up_proj", (HIDDEN, WIDTH)),
            ("down_proj", (WIDTH, HIDDEN)),
        ):
            made[f"{at}.mlp.{name}"] = noise(*shape, 0.02)
        made[f"{at}.input_layernorm"] = made[f"{at}.post_attention_layernorm"] = ones
    return made


def write_gguf(target: Path) -> None:
    """The model as one file for llama.cpp."""
    from gguf import GGUFWriter, TokenType  # type: ignore[import-not-found, unused-ignore]

    tokens = vocabulary()
    writer = GGUFWriter(target, "llama")
    writer.add_name("frontdesk-tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [
            TokenType.CONTROL if token in SPECIAL else TokenType.USER_DEFINED if "think>" in token else TokenType.NORMAL
            for token in tokens
        ]
    )
    writer.add_token_merges([" ".join(spelled("\n\n"))])
    writer.add_bos_token_id(tokens.index(SPECIAL[0]))
    writer.add_eos_token_id(tokens.index(END))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for name, tensor in weights(tokens).items():
        _, _, rest = name.partition("model.layers.")
        layer, _, part = rest.partition(".")
        writer.add_tensor(f"blk.{layer}.{names[part]}.weight" if rest else f"{names[name]}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_transformers(target: Path) -> None:
    """The model as a folder for transformers."""
    import torch  # type: ignore[import-not-found, unused-ignore]
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import (  # type: ignore[import-not-found, unused-ignore]
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    tokens = vocabulary()
    break_letter = spelled("\n")
    bpe = models.BPE(vocab={token: n for n, token in enumerate(tokens)}, merges=[(break_letter, break_letter)])
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in ("<think>", "</think>")])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=SPECIAL[0],
        chat_template=TEMPLATE,
        model_max_length=CONTEXT,
    )
    fast.save_pretrained(target)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        bos_token_id=tokens.index(SPECIAL[0]),
        eos_token_id=tokens.index(END),
        pad_token_id=tokens.index(SPECIAL[0]),
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict({f"{name}.weight": torch.from_numpy(tensor) for name, tensor in weights(tokens).items()})
    model.save_pretrained(target)


def main() -> None:
    kind, target = sys.argv[1:]
    {"gguf": write_gguf, "transformers": write_transformers}[kind](Path(target))


if __name__ == "__main__":
    main()
