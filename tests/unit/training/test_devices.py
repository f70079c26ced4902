"""What a training does differently on GPUs is decided without one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from retune.training.devices import Device, arguments, must_recompute
from retune.training.hyperparameters import read

CPU, GPU, GPUS = Device(False, False, 1), Device(True, True, 1), Device(True, True, 8)


class Model:
    """A model of 16 layers and 2.5 GB, as far as the estimate looks at it."""

    config = SimpleNamespace(
        get_text_config=lambda: SimpleNamespace(
            num_hidden_layers=16, hidden_size=2048, intermediate_size=8192
        )
    )

    def get_memory_footprint(self) -> int:
        return 2_500_000_000


@pytest.mark.parametrize(
    ("device", "batch", "longest", "again"),
    [(GPU, 8, 2048, True), (GPU, 1, 64, False), (CPU, 64, 4096, False)],
)
def test_activations_are_computed_again_where_they_would_take_much(
    device: Device, batch: int, longest: int, again: bool
) -> None:
    assert must_recompute(Model(), device, read({"batch_size": batch}), longest) is again


def test_several_gpus_share_the_weights_and_recompute_in_their_own_way() -> None:
    found = arguments(GPUS, "lora", recompute=True)
    assert found["fsdp"] is True and found["fsdp_config"] == {"activation_checkpointing": True}
    assert found["activation_checkpointing"] is False
    assert found["ddp_backend"] == "nccl"


@pytest.mark.parametrize(
    ("device", "tuning"), [(GPUS, "qlora"), (GPU, "lora"), (Device(False, False, 2), "lora")]
)
def test_four_bit_weights_one_gpu_and_cpus_are_not_sharded(device: Device, tuning: str) -> None:
    assert "fsdp" not in arguments(device, tuning, recompute=False)


@pytest.mark.parametrize(("tuning", "mixed"), [("lora", False), ("qlora", False), ("full", True)])
def test_weights_that_are_trained_themselves_stay_precise(tuning: str, mixed: bool) -> None:
    found: dict[str, Any] = arguments(GPU, tuning, recompute=False)
    assert found["bf16"] is mixed
    assert arguments(CPU, tuning, recompute=False)["bf16"] is False
