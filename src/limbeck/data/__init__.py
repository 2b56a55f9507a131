"""Examples, keyed by their content: where they come from, and choices and views that depend on no order."""

from limbeck.data.encode import AnyPreprocess, Column, Encode
from limbeck.data.examples import Examples, as_words, key_examples, overlap
from limbeck.data.image_preprocess import ImagePreprocess, Interpolation
from limbeck.data.preprocess import Preprocess
from limbeck.data.randomness import derive_seed, random_bits
from limbeck.data.sources import SOURCES, Digits, Idx, Images, Npy, Npz, Rows, Source, Splits, columns_line, from_arrays
from limbeck.data.splits import choose, hold_out, labelled_subset
from limbeck.data.text import text_bytes, texts_of
from limbeck.data.viewing import STORED_VIEWS, Seen, Views
from limbeck.data.views import Augment
from limbeck.signal import UNLABELLED

__all__ = [
    "SOURCES",
    "STORED_VIEWS",
    "UNLABELLED",
    "AnyPreprocess",
    "Augment",
    "Column",
    "Digits",
    "Encode",
    "Examples",
    "Idx",
    "ImagePreprocess",
    "Images",
    "Interpolation",
    "Npy",
    "Npz",
    "Preprocess",
    "Rows",
    "Seen",
    "Source",
    "Splits",
    "Views",
    "as_words",
    "choose",
    "columns_line",
    "derive_seed",
    "from_arrays",
    "hold_out",
    "key_examples",
    "labelled_subset",
    "overlap",
    "random_bits",
    "text_bytes",
    "texts_of",
]
