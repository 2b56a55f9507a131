"""The processes that train one model together: `torchrun` starts them, gloo (or NCCL) joins them.

One flat all-reduce of summed gradients per optimizer step, instead of DistributedDataParallel: its buckets change
after the first step, so that 3 or 4 ranks would not resume bit for bit.
"""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from limbeck.errors import DataError


@dataclass(frozen=True)
class World:
    """This process's place among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and speaks to the user."""
        return self.rank == 0

    def part(self, rows: Tensor) -> Tensor:
        """This rank's rows of a global batch, in order."""
        return rows.tensor_split(self.size)[self.rank]

    def sum_gradients(self, learner: nn.Module, values_K: Tensor) -> Tensor:
        """Sum gradients over the ranks, in place, and the terms' values, which are returned [K].

        Buffers become those of rank 0, as in DistributedDataParallel.
        """
        if self.size == 1:
            return values_K
        gradients = [p.grad for p in learner.parameters() if p.grad is not None]
        flat = torch.cat([values_K, *(gradient.reshape(-1) for gradient in gradients)])
        dist.all_reduce(flat)
        values_K, *sums = flat.split([len(values_K), *(gradient.numel() for gradient in gradients)])
        for gradient, total in zip(gradients, sums, strict=True):
            gradient.copy_(total.view(gradient.shape))
        for buffer in learner.buffers():
            dist.broadcast(buffer, src=0)
        return values_K

    def agree(self, *numbers: int) -> tuple[int, ...]:
        """The largest that any rank gave of each number; the same answer everywhere."""
        if self.size == 1:
            return numbers
        answers = torch.tensor(numbers)
        dist.all_reduce(answers, op=dist.ReduceOp.MAX)
        return tuple(answers.tolist())

    def check_alike(self, start: int, weights: str) -> None:
        """Whether all ranks begin at one step, with weights of one sha256.

        Raises:
            DataError: they do not: they would wait for each other for ever, or train different students.
        """
        mine = (start, int(weights[:12], 16))
        largest = self.agree(*mine, *(-number for number in mine))
        if largest != (*mine, *(-number for number in mine)):
            raise DataError(
                f"rank {self.rank} begins at step {start} with weights {weights[:12]}, another rank otherwise",
                expected="one checkpoint and one student for all ranks",
                do="put out on a disk that all machines share, and let the student's factory use torch's randomness",
            )

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.size > 1:
            dist.barrier()


def join_world() -> World:
    """The world that `torchrun` describes in the environment, or one process alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    if not dist.is_initialized():
        # Gradients on a GPU go by NCCL, numbers on the CPU by gloo; each process has a GPU of its own.
        gpu = torch.cuda.is_available()
        if gpu:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        # The others wait here while rank 0 asks the teacher; a dead rank is torchrun's to notice.
        dist.init_process_group(backend, timeout=timedelta(hours=24))
    return World(dist.get_rank(), dist.get_world_size())
