"""Kintune: how should this pretrained vision network be fine-tuned on these images?

>>> import kintune
>>> summary = kintune.tune("photos", model="resnet50")  # doctest: +SKIP
"""

from kintune.api import finetune, tune

__all__ = ["finetune", "tune"]
