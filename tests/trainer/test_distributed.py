"""A single process gets a process group of its own, out of reach of other machines, and is left as it was."""

from __future__ import annotations

import psutil
import pytest
import torch
import torch.distributed as dist

from pile_toolkit.core.errors import UsageError
from trainer.distributed import choose_device, deterministic_algorithms, join_world

CPU = torch.device("cpu")


def test_one_process_is_a_world_of_its_own_and_leaves_nothing_behind():
    with join_world(CPU) as world:
        assert (world.rank, world.size, world.is_first, world.mesh.size()) == (0, 1, True, 1)
        assert world.sum(1.5, 2.0) == [1.5, 2.0]
        world.barrier()
        listening = [c for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::1"}
    assert not dist.is_initialized()


def test_the_group_ends_with_an_error_too_but_the_callers_own_group_stays():
    with pytest.raises(ZeroDivisionError), join_world(CPU):
        _ = 1 / 0
    assert not dist.is_initialized()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with join_world(CPU) as world:
            assert world.size == 1
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()


def test_deterministic_algorithms_end_with_the_block():
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic_algorithms(CPU):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_cuda_without_a_device_is_refused_and_none_takes_the_cpu():
    assert choose_device(None) == CPU
    with pytest.raises(UsageError, match="sees no CUDA device"):
        choose_device("cuda")
