"""Where a fit runs and what is around it."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from limbeck.progress import Stop, Watch, unwatched
from limbeck.training.world import World


@dataclass(frozen=True)
class Place:
    """Where a fit runs: its directory, its log and the tags of its lines there, its device and its company."""

    directory: Path
    log: Path
    tags: dict[str, str | int] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    world: World = field(default_factory=World)
    watch: Watch = unwatched
    stop: Stop = field(default_factory=Stop)
