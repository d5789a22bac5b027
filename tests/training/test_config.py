import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest
import tyro

from fisherae.errors import InputError
from fisherae.training.config import TrainingConfig


def test_schedule_multiplies_the_initial_rate() -> None:
    # Tolstikhin et al. 2018: halved after 30 epochs, then divided by 5 after 50.
    config = TrainingConfig(schedule=((30, 0.5), (50, 0.5 / 5)))
    factors = [config.learning_rate_factor(epoch) for epoch in range(100)]
    assert factors == [1.0] * 30 + [0.5] * 20 + [0.1] * 50


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("betas", (0.9, 1.0)),
        ("clip", 0.0),
        ("clip", float("inf")),
        ("seed", -1),
        ("log_every", 0),
        ("save_every", 0),
        ("keep", 0),
        ("schedule", ((50, 0.1), (30, 0.5))),
        ("schedule", ((30, 0.5), (30, 0.1))),
        ("schedule", ((30, 0.0),)),
    ],
)
def test_a_bad_value_is_named(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"training\.{field} is "):
        TrainingConfig(**{field: value})


def test_the_command_line_sets_every_field() -> None:
    text = (
        "--epochs 3 --batch-size 16 --learning-rate 0.001 --betas 0.5 0.999 --clip 10 "
        "--schedule 30 0.5 50 0.1 --seed 4 --log-every 5 --save-every 6 --keep 7 --device cpu "
        "--precision bf16 --capture"
    )
    expected = TrainingConfig(
        epochs=3,
        batch_size=16,
        learning_rate=1e-3,
        betas=(0.5, 0.999),
        clip=10.0,
        schedule=((30, 0.5), (50, 0.1)),
        seed=4,
        log_every=5,
        save_every=6,
        keep=7,
        device="cpu",
        precision="bf16",
        capture=True,
    )
    assert tyro.cli(TrainingConfig, args=text.split()) == expected
    assert len(text.split("--")) - 1 == len(fields(TrainingConfig))


def test_the_configuration_does_not_import_torch() -> None:
    code = "import sys, fisherae.training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
