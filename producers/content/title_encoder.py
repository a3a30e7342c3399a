"""f_T of Eq. 1: a transformer of the BERT family, its last layer averaged over the tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    ByT5Tokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

TokenLists: TypeAlias = Mapping[str, Sequence[Sequence[int]]]


class TitleEncoder(nn.Module):
    """Mean of the last layer's token vectors.

    The mean rather than the [CLS] token: nothing trains [CLS] to stand for the text in BERT's
    frozen output, whereas sentence encoders are trained on exactly this mean; fine-tuning can use
    either (Reimers and Gurevych, *Sentence-BERT*, EMNLP 2019, section 3 and table 6).

    Args:
        transformer: a model whose output has `last_hidden_state`.
        tokenizer: its tokenizer.
        max_tokens: longer titles are cut, [CLS] and [SEP] included.

    Attributes:
        width: of its output.
    """

    def __init__(
        self, transformer: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.width: int = transformer.config.hidden_size

    def tokens(self, titles: Sequence[str]) -> dict[str, Tensor]:
        """The tokenizer's tensors, each `(B, T)`, padded to the longest title."""
        return self.pad(self.tokenize(titles))

    def tokenize(self, titles: Sequence[str]) -> TokenLists:
        """The tokenizer's lists of each title, `input_ids` among them, cut and not padded."""
        lists: TokenLists = self.tokenizer(
            list(titles), truncation=True, max_length=self.max_tokens
        ).data
        return lists

    def pad(self, lists: TokenLists) -> dict[str, Tensor]:
        """Lists of some titles -> tensors `(B, T)`, padded to the longest of them."""
        batch: Mapping[str, Tensor] = pad_without_fast_tokenizer_warning(  # type: ignore[no-untyped-call]
            self.tokenizer, dict(lists), return_tensors="pt"
        )
        return dict(batch)

    def forward(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """`(B, T)` each -> `(B, width)`."""
        states = self.transformer(**tokens).last_hidden_state  # (B, T, width)
        return mean_pool(states, tokens["attention_mask"])


def random_title_encoder(seed: int, *, max_tokens: int) -> TitleEncoder:
    """BERT base as it is drawn, over the bytes of a title: the shape of f_T without its weights.

    Its tokenizer needs no vocabulary, which only pre-trained weights could make sense of.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = BertModel(BertConfig())
    return TitleEncoder(transformer, ByT5Tokenizer(), max_tokens=max_tokens)


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """`(B, T, width)` averaged over the tokens whose mask `(B, T)` is 1.

    >>> mean_pool(torch.tensor([[[1.0], [3.0], [100.0]]]), torch.tensor([[1, 1, 0]])).tolist()
    [[2.0]]
    """
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)
