"""Command lines that cannot work: exit code 2, one clear message, no file changed.

A case is the words, what the message must say, and what is prepared in the working directory;
`{run}` stands for a copy of a finished run, `{locked}` for a folder in which nobody may write.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


def a_file(root: Path) -> None:
    (root / "note.txt").write_text("mine")


def an_empty_folder(root: Path) -> None:
    (root / "folder").mkdir()


def a_thesis(root: Path) -> None:
    an_empty_folder(root)
    (root / "folder" / "thesis.txt").write_text("mine")


def grey_pictures(root: Path) -> None:
    for part in ("train", "test"):
        (root / part).mkdir()
        for index in range(4):
            pixels = np.full((10, 10), index, np.uint8)
            Image.fromarray(pixels).save(root / part / f"{index}.png")


DIGITS, WAE, VAE = "train digits-fisher", "train digits-wae-gan", "train digits-vae"

Case = tuple[str, str] | tuple[str, str, Callable[[Path], None]]
CASES: dict[str, Case] = {
    # words
    "unknown command": ("tarin", "unknown command 'tarin'; known: demo, train"),
    "option for a command": ("--verbose", "unknown command '--verbose'"),
    "unknown recipe": ("train mnist-fishr", "unknown recipe 'mnist-fishr'; known: digits-fisher"),
    "empty recipe": ("train ''", "unknown recipe ''"),
    "unknown preset": (f"{DIGITS} --preset papr", "unknown preset 'papr'; known: default, paper"),
    "preset without a value": (f"{DIGITS} --preset", "argument --preset: expected one argument"),
    "unknown option": (f"{DIGITS} --latents 3", "--latents"),
    "option without a value": (f"{DIGITS} --epochs", "Missing value for argument '--epochs'"),
    "word too many": (f"{DIGITS} now", "Unrecognized options: now"),
    # recipes
    "epochs: a word": (f"{DIGITS} --epochs many", "many"),
    "epochs: a fraction": (f"{DIGITS} --epochs 2.5", "2.5"),
    "epochs: none": (f"{DIGITS} --epochs 0", "training.epochs is 0; it must be: a whole number"),
    "batch size": (f"{DIGITS} --batch-size -8", "training.batch_size is -8"),
    "batch of one": (f"{VAE} --preset paper --batch-size 1", "needs a batch_size of at least 2"),
    "rate: negative": (f"{DIGITS} --learning-rate -1", "training.learning_rate is -1.0"),
    "rate: nan": (f"{DIGITS} --learning-rate nan", "training.learning_rate is nan"),
    "rate: infinite": (f"{DIGITS} --learning-rate 1e999", "training.learning_rate is inf"),
    "betas: one": (f"{DIGITS} --betas 0.9", "--betas"),
    "betas: too large": (f"{DIGITS} --betas 0.9 1.5", "training.betas is (0.9, 1.5)"),
    "clip: zero": (f"{DIGITS} --clip 0", "training.clip is 0.0; it must be: positive, or None"),
    "clip: nan": (f"{DIGITS} --clip nan", "training.clip is nan"),
    "schedule": (f"{WAE} --schedule 30 0.5 20 0.1", "must be: ascending epochs"),
    "seed": (f"{DIGITS} --seed -1", "training.seed is -1"),
    "log every": (f"{DIGITS} --log-every 0", "training.log_every is 0"),
    "save every": (f"{DIGITS} --save-every -1", "training.save_every is -1"),
    "keep": (f"{DIGITS} --keep 0", "training.keep is 0"),
    "device": (f"{DIGITS} --device tpu", "tpu"),
    "precision": (f"{DIGITS} --precision fp16", "fp16"),
    "dim: none": (f"{DIGITS} --dim 0", "dim must be a positive integer, got 0"),
    "dim: huge": (f"{DIGITS} --dim 1000000000000", "dim must be a positive integer, got 10000"),
    "dim: endless": (f"{DIGITS} --dim {10**30}", "is possible"),
    "order: one": (f"{DIGITS} --order 1", "order must be an integer of at least 2, got 1"),
    "posterior order: odd": (f"{DIGITS} --posterior-order 3", "invalid choice '3'"),
    "order: huge": (f"{DIGITS} --order {10**12}", "at most 2147483647 is possible"),
    "variance: zero": (f"{DIGITS} --variance 0", "variance must be a positive number, got 0"),
    "variance: nan": (f"{DIGITS} --variance nan", "variance must be a positive number, got nan"),
    "samples": (f"{DIGITS} --samples 0", "samples must be a whole number, at least 1, got 0"),
    "noise seen": (f"{DIGITS} --noise -1", "noise must be ≥ 0 and finite, got -1"),
    "score fraction": (f"{DIGITS} --score-fraction 0", "score_fraction must lie in (0, 1], got 0"),
    "score fraction: nan": (f"{DIGITS} --score-fraction nan", "score_fraction must lie in (0, 1]"),
    "variant": (f"{DIGITS} --variant fast", "fast"),
    "network": (f"{DIGITS} --network resnet", "resnet"),
    "activation": (f"{DIGITS} --encoder-activation swish", "swish"),
    "normalization": (f"{DIGITS} --encoder-normalization layer", "layer"),
    "likelihood": (f"{VAE} --likelihood poisson", "poisson"),
    "likelihood of noise": (
        f"{VAE} --corruption noise --corruption-level 0.1",
        "a Bernoulli decoder needs pixels in [0, 1]",
    ),
    "likelihood of pixels below 0": (
        "train celeba-vae --likelihood bernoulli --data digits --size 8 --channels 1 --crop None",
        "needs pixels in [0, 1]",
    ),
    "sides": (f"{DIGITS} --data . --network small --size 10", "divisible by 4", grey_pictures),
    "weight: zero": (f"{WAE} --weight 0", "weight λ must be positive and finite, got 0"),
    "weight: infinite": (f"{WAE} --weight inf", "weight λ must be positive and finite, got inf"),
    "adversary's rate": (f"{WAE} --adversary-learning-rate 0", "adversary_learning_rate must be"),
    "β": (f"{VAE} --beta 0", "the KL's weight β must be positive and finite, got 0"),
    "noise": ("train digits-dae --noise -1", "noise must be ≥ 0 and finite, got -1.0"),
    "contraction": ("train digits-cae --weight nan", "weight λ must be positive and finite"),
    "probes": ("train digits-cae --probes 0", "probes must be at least 1, or None for the exact"),
    "latents' weight": ("train digits-rae --latent-weight 0", "latent_weight β must be positive"),
    "discrepancy": ("train digits-wae-mmd --batch-size 1", "it needs a batch_size ≥ 2"),
    "variances": (f"{DIGITS} --variances row", "row"),
    "limit": (f"{DIGITS} --limit 0", "limit is 0: give a positive whole number"),
    "size": (f"{DIGITS} --size -8", "size is -8"),
    "size beyond memory": (f"{DIGITS} --data . --size {10**9}", "not enough memory", grey_pictures),
    "size of arrays": (f"{DIGITS} --size 16", "not converted to size 16: leave size out"),
    "channels": (f"{DIGITS} --channels 2", "channels is 2: give 1 (grey) or 3 (colour)"),
    "crop": (f"{DIGITS} --crop 0", "crop is 0"),
    "corruption": (f"{DIGITS} --corruption rain", "rain"),
    "corruption without level": (f"{DIGITS} --corruption mask", "give a level > 0"),
    "level without corruption": (f"{DIGITS} --corruption-level 1", "name the corruption as well"),
    "level: nan": (f"{DIGITS} --corruption mask --corruption-level nan", "corruption_level is nan"),
    "level: too large": (
        f"{DIGITS} --corruption mask --corruption-level 2",
        "masked fraction is 2.0: give a number in [0, 1]",
    ),
    "share": (f"{DIGITS} --corruption mask --corrupted-share 2", "corrupted_share is 2.0"),
    "shape": ("train mnist-fisher --data digits", "takes images of shape (1, 28, 28), the data"),
    # data
    "data: no name": (f"{DIGITS} --data ''", "there is no data '': give digits, mnist, celeba"),
    "data: nowhere": (f"{DIGITS} --data ./nowhere", "there is no data './nowhere'"),
    "data: no such home": (f"{DIGITS} --data ~nobody.here/x", "there is no data '~nobody.here/x'"),
    "data: a long name": (f"{DIGITS} --data {'x' * 5000}", "there is no data"),
    "data: a file": (f"{DIGITS} --data note.txt", "is a file: give the folder", a_file),
    "data: an empty folder": (f"{DIGITS} --data folder", "holds no images", an_empty_folder),
    "data: no images": (f"{DIGITS} --data folder", "holds no images", a_thesis),
    "data: hub without network": (
        f"{DIGITS} --data some/set",
        "cannot be reached: connect to the network",
    ),
    "data: mnist is not there": ("train mnist-vae", "set FISHERAE_DATA to the folder that holds"),
    "data: celeba is not there": ("train celeba-vae", "celeba is not in data/celeba"),
    # where a run goes
    "out: a file": (f"{DIGITS} --out note.txt", "note.txt already exists", a_file),
    "out: below a file": (f"{DIGITS} --out note.txt/run", "Not a directory", a_file),
    "out: taken": (f"{DIGITS} --out folder", "already exists: choose another --out", a_thesis),
    "out: a run": (f"{DIGITS} --out {{run}}", "continue that run with --resume"),
    "out: read-only": (f"{DIGITS} --out {{locked}}/run", "cannot be written"),
    "out: a long name": (f"{DIGITS} --out {'x' * 300}", "File name too long"),
    "resume: nothing": (f"{DIGITS} --resume", "runs/digits-fisher is not a run"),
    "resume: another recipe": (f"{VAE} --resume --out {{run}}", "started as 'digits-fisher', not"),
    "resume: other latents": (f"{DIGITS} --resume --out {{run}} --dim 3", "dim = 8, not 3"),
    "resume: another preset": (f"{DIGITS} --resume --preset paper --out {{run}}", "--preset paper"),
    # demo
    "demo: seed": ("demo --seed -1", "training.seed is -1"),
    "demo: epochs": ("demo --epochs 0", "training.epochs is 0"),
    "demo: a file": ("demo --out note.txt", "note.txt is a file: give a directory", a_file),
    "demo: not a demo": ("demo --out folder", "holds thesis.txt: choose another --out", a_thesis),
    "demo: read-only": ("demo --out {locked}/demo", "cannot be written"),
    # reproduce
    "reproduce: nothing": ("reproduce", "no item: name one or more of figure-1"),
    "reproduce: unknown": ("reproduce figure-11", "unknown item 'figure-11'; known: figure-1"),
    "reproduce: budget": ("reproduce figure-1 --budget huge", "huge"),
    "reproduce: seeds": ("reproduce figure-1 --seeds 1 -1", "seeds [1, -1]: give at least one"),
    "reproduce: seed twice": ("reproduce figure-1 --seeds 1 1", "each once"),
    "reproduce: out": ("reproduce figure-1 --out note.txt", "is a file: give a directory", a_file),
    "reproduce: runs": ("reproduce figure-1 --runs note.txt", "is a file", a_file),
    "reproduce: no data": (
        "reproduce figure-1",
        "set FISHERAE_DATA to the folder that holds mnist/",
    ),
    # sample
    "sample: none": ("sample {run} --n 0", "n 0, seed 0: give at least one image"),
    "sample: a word": ("sample {run} --n many", "many"),
    "sample: too many": (f"sample {{run}} --n {10**15}", "memory"),
    "sample: method": ("sample {run} --method magic", "magic"),
    "sample: prior": ("sample {run} --prior best", "best"),
    "sample: seed": ("sample {run} --seed -1", "a seed ≥ 0"),
    "sample: endless seed": (f"sample {{run}} --seed {10**30}", "a seed ≥ 0 and < 2³²"),
    "sample: a file": ("sample {run} --out note.txt", "note.txt is a file", a_file),
    "sample: read-only": ("sample {run} --out {locked}", "cannot be written"),
    "sample: a long name": (
        f"sample {{run}} --out {'x' * 300}",
        "File name too long: give another",
    ),
    # evaluate
    "evaluate: corruption": ("evaluate {run} --corruption rain", "rain"),
    "evaluate: level": ("evaluate {run} --levels -1", "noise variance is -1.0"),
    "evaluate: level nan": ("evaluate {run} --levels nan", "noise variance is nan"),
    "evaluate: level twice": ("evaluate {run} --levels 1 1", "give each once"),
    "evaluate: no level": ("evaluate {run} --levels", "no levels: give at least one"),
    "evaluate: images": ("evaluate {run} --images 0", "give at least one image"),
    "evaluate: seed": (f"evaluate {{run}} --seed {2**32}", "a seed ≥ 0 and < 2³²"),
    "evaluate: no data": ("evaluate {run} --data digit", "there is no data 'digit'"),
    "evaluate: other size": (
        "evaluate {run} --data .",
        "was trained on images of shape (1, 8, 8), those of",
        grey_pictures,
    ),
    "evaluate: no split": (
        "evaluate {run} --data folder",
        "has no t10k-images",
        lambda root: a_thesis(root) or (root / "folder" / "train-images-idx3-ubyte").touch(),
    ),
    "evaluate: levels of the suite": (
        "evaluate {run} --corruption suite --levels 1",
        "the suite has its own levels",
    ),
    # attack
    "attack: norm": ("attack {run} --norm l1", "l1"),
    "attack: radius": ("attack {run} --radii -1", "radius is -1.0"),
    "attack: no radius": ("attack {run} --radii", "no radii: give at least one"),
    "attack: steps": ("attack {run} --steps 0", "steps is 0: give a positive whole number"),
    "attack: restarts": ("attack {run} --restarts 0", "restarts is 0"),
    "attack: images": ("attack {run} --images 0", "give at least one image"),
    "attack: no run": ("attack nowhere", "nowhere"),
    # compare and report
    "compare: nothing": ("compare", "no runs: name at least one run directory"),
    "compare: twice": ("compare {run} {run}", "named twice"),
    "compare: images": ("compare {run} --images 0", "give at least one image"),
    "compare: samples": ("compare {run} --samples -1", "samples ≥ 0"),
    "compare: few samples": ("compare {run} --samples 3", "at least 4 samples"),
    "compare: seed": ("compare {run} --seed -1", "a seed ≥ 0"),
    "compare: extractor": ("compare {run} --extractor vgg", "extractor 'vgg' is not known"),
    "compare: a file": ("compare {run} --out note.txt", "is a file: give a directory", a_file),
    "report: nothing": ("report", "no runs: name at least one run directory"),
    "report: images": ("report {run} --images -3", "give at least one image"),
    "report: below a file": ("report {run} --out note.txt/page.html", "note.txt is a file", a_file),
    "report: read-only": ("report {run} --out {locked}/page.html", "cannot be written"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, refused: Callable[..., None]) -> None:
    refused(*CASES[case])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(refused: Callable[..., None]) -> None:
    refused(f"{DIGITS} --device cuda", "torch finds no GPU here: use auto or cpu")
    refused(f"{DIGITS} --capture", "training.capture is on, which needs a GPU")
