"""Where data comes from. A new source is one file with a frozen dataclass and one name in `SOURCES`."""

from limbeck.data.sources.arrays import from_arrays
from limbeck.data.sources.base import Source, Splits
from limbeck.data.sources.digits import Digits
from limbeck.data.sources.idx import Idx
from limbeck.data.sources.images import Images
from limbeck.data.sources.npy import Npy
from limbeck.data.sources.npz import Npz
from limbeck.data.sources.roles import columns_line
from limbeck.data.sources.rows import Rows

SOURCES: dict[str, type[Source]] = {
    "digits": Digits,
    "idx": Idx,
    "npz": Npz,
    "images": Images,
    "rows": Rows,
    "npy": Npy,
}
"""Name in a recipe -> the class that is both the setting and the loader."""

__all__ = [
    "SOURCES",
    "Digits",
    "Idx",
    "Images",
    "Npy",
    "Npz",
    "Rows",
    "Source",
    "Splits",
    "columns_line",
    "from_arrays",
]
