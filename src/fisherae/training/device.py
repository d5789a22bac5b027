"""Where a training computes, and the random numbers that it draws there."""

import atexit
import time

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState, is_initialized
from torch import Tensor
from torch.distributed import DistError

from fisherae.errors import InputError

__all__ = ["means_lost_process", "random_state", "set_random_state", "start_accelerator"]

LEAVING_SECONDS = 0.2


def start_accelerator(device: str, capture: bool = False) -> Accelerator:
    """The device, and the processes that share the work.

    Start several processes with `python -m torch.distributed.run`. `train` calls this itself;
    call it before for the `.device`, `.process_index` and `.num_processes` that a batch
    source needs.

    Arguments:
        device: `cpu`, `cuda`, or `auto`: the GPU where there is one.
        capture: whether steps are to be recorded as CUDA graphs.

    Raises:
        InputError: `cuda` on a machine without; `capture` without a GPU, or in several processes.

    Example:
        >>> start_accelerator("cpu").device
        device(type='cpu')
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("device is 'cuda', but torch finds no GPU here: use auto or cpu")
    cpu = device == "cpu" or not available
    _allow(cpu)
    accelerator = Accelerator(cpu=cpu, mixed_precision="no")
    if accelerator.num_processes > 1:
        atexit.unregister(_leave)  # once, however often this is called
        atexit.register(_leave)
    if capture and (accelerator.device.type != "cuda" or accelerator.num_processes > 1):
        raise InputError(
            "training.capture is on, which needs a GPU and a single process: this is process "
            f"{accelerator.process_index} of {accelerator.num_processes} on {accelerator.device}"
        )
    return accelerator


def _allow(cpu: bool) -> None:
    """A training on the CPU after one on the GPU, and the other way round: accelerate would refuse
    the first and do the second on the CPU, for it decides once per process."""
    decided = is_initialized() and PartialState().num_processes == 1
    if decided and (PartialState().device.type == "cpu") != cpu:
        AcceleratorState._reset_state(reset_partial_state=True)


def _leave() -> None:
    """Ends the talk with other processes while Python still runs.

    The threads that gather gradients hand back Python objects when they are done, after the
    training has gone on. One that comes too late for the interpreter aborts the process, and with
    it the others; there is no way to join them, so they are given the time.
    """
    time.sleep(LEAVING_SECONDS)
    PartialState().destroy_process_group()


def means_lost_process(error: RuntimeError) -> bool:
    """Whether an error of a collective operation tells that another process is gone.

    Example:
        >>> means_lost_process(RuntimeError("[../gloo/tcp/pair.cc] Connection closed by peer"))
        True
    """
    return isinstance(error, DistError) or "gloo" in str(error).lower()


def random_state(accelerator: Accelerator) -> dict[str, Tensor]:
    """The states of torch's generators, a row per process."""
    states = {"cpu": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(accelerator.device)
    gathered: dict[str, Tensor] = accelerator.gather(
        {name: state[None].to(accelerator.device) for name, state in states.items()}
    )
    return gathered


def set_random_state(states: dict[str, Tensor], accelerator: Accelerator) -> None:
    """Put this process's row of `random_state` back."""
    # A copy: torch reads a view with an offset wrongly, up to a segmentation fault.
    rows = {name: state[accelerator.process_index].clone() for name, state in states.items()}
    torch.set_rng_state(rows["cpu"])
    if "cuda" in rows and accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(rows["cuda"], accelerator.device)
