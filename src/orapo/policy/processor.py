"""Turns images and messages into token ids and pixels, by the model's own processor in transformers.

Many of those processors load only where torchvision or num2words is installed, which their videos need. Here each
is built from its image processor and its tokenizer alone, without its part for videos; its output stays the same.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import transformers
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedTokenizerBase, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from orapo.errors import CheckpointError, DataError
from orapo.policy.pixtral import PixtralProcessor

_PARTS = ("image_processor", "tokenizer")
_TILES = ("crop_to_patches", "do_image_splitting", "do_pan_and_scan")
"""What image processors call it that they cut an image into tiles."""


class StudyProcessor:
    """Tokenizer, image processor and chat template of one model.

    Attributes:
        tokenizer: with the chat template, whichever file it came from.
        image_processor: the variant that needs no torchvision, where there is one.
    """

    def __init__(self, stock: Any, **told: bool) -> None:
        """Takes a processor of transformers, complete or without its part for videos.

        Args:
            stock: makes the ids and pixels.
            told: arguments of the image processor in each call.
        """
        self._stock = stock
        self._told = told
        self.tokenizer: PreTrainedTokenizerBase = stock.tokenizer
        self.image_processor = stock.image_processor
        self.tokenizer.chat_template = stock.chat_template or self.tokenizer.chat_template

    @classmethod
    def from_pretrained(
        cls, path: str, model_type: str, tiles: bool | None = None, **image_settings: int
    ) -> "StudyProcessor":
        """Reads a folder or hub repository.

        Args:
            path: of the folder, or a hub name.
            model_type: of the model's config.
            tiles: whether images are cut into tiles; None: as the processor does.
            image_settings: go to the image processor.

        Raises:
            CheckpointError: there is no processor for this architecture, or no chat template.
            OSError, ValueError, KeyError: a file is missing or unreadable.
        """
        stock = _without_video(_stock_class(path, model_type))
        image_processor = AutoImageProcessor.from_pretrained(
            path, backend="pil", trust_remote_code=False, **image_settings
        )
        known = image_processor.valid_kwargs.__annotations__
        unknown = [name for name in image_settings if name not in known]
        if unknown:
            raise CheckpointError(
                f"model.{unknown[0]} is set, but the images of {path!r} have a fixed size; leave it null"
            )
        told = {name: tiles for name in _TILES if tiles is not None and hasattr(image_processor, name)}
        if tiles is not None and not told:
            raise CheckpointError(f"model.image_tiles is {tiles}, but {path!r} knows no tiles; leave it null")
        settings, _ = stock.get_processor_dict(path)
        parts = [image_processor, AutoTokenizer.from_pretrained(path, trust_remote_code=False)]
        processor = cls(stock.from_args_and_dict(parts, settings, **_absent_parts(stock)), **told)
        # Without its vocabulary, transformers makes an empty tokenizer.
        if not processor.tokenizer("effusion", add_special_tokens=False)["input_ids"]:
            raise CheckpointError(f"model.path {path!r}: its tokenizer knows no words; is tokenizer.json there?")
        if processor.tokenizer.chat_template is None:
            raise CheckpointError(
                f"model.path {path!r} has no chat template; it must stand in chat_template.jinja, chat_template.json "
                "or tokenizer_config.json"
            )
        return processor

    def __call__(
        self, images: Sequence[Image.Image], messages: Sequence[Mapping[str, Any]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The inputs of one study's prompt.

        Args:
            images: in the order of the prompt; none for words alone.
            messages: of ``prompt.Prompt``, with a place for each image.

        Returns:
            Token ids [P], int64, image placeholders expanded; and by the names of the model's forward what belongs to
            the images, a batch of one study.

        Raises:
            CheckpointError: the template can't be run.
            DataError: the template does not write one placeholder for each image.
        """
        try:
            text = str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # a template may raise anything, and say the words of the prompt
            raise CheckpointError(
                f"model.path {self.tokenizer.name_or_path!r}: its chat template can't write the prompt "
                f"({type(error).__name__})"
            ) from None
        placeholder = self._stock.image_token
        if text.count(placeholder) != len(images):
            raise DataError(
                f"the chat template wrote {text.count(placeholder)} {placeholder} for {len(images)} images; "
                "the prompt must not contain that token and the template must write one per image"
            )
        bos = self.tokenizer.bos_token
        told = self._told | ({"add_special_tokens": False} if bos is not None and text.startswith(bos) else {})
        made = self._stock(images=[list(images)] if images else None, text=text, return_tensors="pt", **told)
        inputs = {name: value for name, value in made.items() if isinstance(value, Tensor)}
        inputs.pop("attention_mask")
        return inputs.pop("input_ids")[0], inputs

    @property
    def max_pixels(self) -> int | None:
        """The most pixels of an image, width times height, that make a difference to the model.

        Four times what it takes, so that its own resampling decides how the picture looks; None where it cuts images
        into tiles or says no size: then all pixels count.
        """
        size = dict(self.image_processor.size)
        if any(self._told.get(name, getattr(self.image_processor, name, False)) for name in _TILES):
            return None
        if "height" in size and "width" in size:
            taken = size["height"] * size["width"]
        elif "max_pixels" in self.image_processor.valid_kwargs.__annotations__:
            taken = size.get("longest_edge")  # of these processors a number of pixels, by another's name
        else:
            taken = size["longest_edge"] ** 2 if size.get("longest_edge") else None
        return None if taken is None else 4 * int(taken)

    def save_pretrained(self, folder: str) -> None:
        """Writes a folder that ``from_pretrained`` reads, here and in transformers."""
        self._stock.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)


class _ImagesOnly(ProcessorMixin):  # type: ignore[misc]
    """A base class after a stock class: accepts all of its parts and keeps two."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return list(_PARTS)

    def __init__(self, *parts: Any, chat_template: Any = None, **named: Any) -> None:
        given = dict(zip(super().get_attributes(), parts, strict=False)) | named
        super().__init__(**{name: given[name] for name in _PARTS}, chat_template=chat_template)


def _without_video(stock: Any) -> Any:
    module: Any = import_module(stock.__module__)
    if getattr(module, "num2words", str) is None:
        # Writes how many frames a video has; the class refuses to be made without it.
        module.num2words = str
    return type(stock.__name__, (stock, _ImagesOnly), {})


def _absent_parts(stock: Any) -> dict[str, None]:
    """The arguments that the processor's ``__init__`` takes besides tokenizer and image processor."""
    return {name: None for name in super(_ImagesOnly, stock).get_attributes() if name not in _PARTS}


def _stock_class(path: str, model_type: str) -> Any:
    name = PROCESSOR_MAPPING_NAMES.get(model_type)
    if name == PixtralProcessor.__name__:
        return PixtralProcessor
    if name is None:
        raise CheckpointError(
            f"model.path {path!r} is of architecture {model_type!r}, for which transformers has no processor of images "
            "and text"
        )
    return getattr(transformers, name)
