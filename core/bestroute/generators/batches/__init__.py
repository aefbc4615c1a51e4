"""Draws through providers' batch APIs: half the price, answered within a day."""

from bestroute.generators.batches.batch_draws import BatchDraws, are_under_way, folder_of
from bestroute.generators.batches.batch_forms import VLLM, BatchForm, FormName, at_batch_prices, form_of
from bestroute.generators.batches.kept_replies import KeptReplies, draw_key, replies_file

__all__ = [
    "VLLM",
    "BatchDraws",
    "BatchForm",
    "FormName",
    "KeptReplies",
    "are_under_way",
    "at_batch_prices",
    "draw_key",
    "folder_of",
    "form_of",
    "replies_file",
]
