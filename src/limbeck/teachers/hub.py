"""Files of the Hugging Face hub."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from limbeck.errors import DataError, MissingError, RecipeError
from limbeck.extras import package

_log = logging.getLogger(__name__)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def check_commit(revision: str | None, key: str) -> None:
    """Refuse a revision that could mean something else tomorrow.

    Raises:
        RecipeError: no full commit hash; `key` is named.
    """
    if revision is None or not _COMMIT.fullmatch(revision):
        raise RecipeError(
            f"{key} is {revision!r}",
            expected="the full hash of a commit, 40 digits: a branch or a tag can be moved by its owner",
            do="copy it from the history of the repository on the hub",
        )


def fetch_file(repository: str, name: str, revision: str | None, do: str) -> Path:
    """One file of a repository of the hub, from the cache if it is there.

    Args:
        repository: OWNER/NAME.
        name: of the file.
        revision: a full commit hash; None is the newest.
        do: another way to have it, in errors.

    Raises:
        DataError: there is no such file to have.
        MissingError: the hub cannot be reached.
    """
    hub = package("huggingface_hub", "hf")
    with _hub_errors(repository, do):
        return Path(hub.hf_hub_download(repository, name, revision=revision))


def fetch_folder(repository: str, names: Sequence[str], revision: str, do: str) -> Path:
    """The files of these names or patterns of a repository of the hub, in one folder of the cache.

    Raises:
        DataError: there is no such repository or commit to have.
        MissingError: the hub cannot be reached.
    """
    hub = package("huggingface_hub", "hf")
    with _hub_errors(repository, do):
        return Path(hub.snapshot_download(repository, revision=revision, allow_patterns=list(names)))


@contextmanager
def _hub_errors(repository: str, do: str) -> Iterator[None]:
    errors = import_module("huggingface_hub.errors")
    try:
        yield
    except (errors.HfHubHTTPError, errors.RemoteEntryNotFoundError, errors.HFValidationError) as error:
        raise DataError(
            f"the hub does not give {repository} ({str(error).strip().splitlines()[-1]})",
            expected="OWNER/NAME of a repository that is public or that you are logged in for, with safetensors",
            do=do,
        ) from None
    # The last is what the client raises where a connection breaks.
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HTTPError) as error:
        _log.debug("hub: %s", error)
        raise MissingError(
            f"{repository} is not in the cache of this machine, and the hub cannot be reached from here",
            expected="a way to the Hugging Face hub (HF_HUB_OFFLINE unset), or the files in its cache",
            do=do,
        ) from None
