import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from fisherae.errors import InputError
from fisherae.evaluation.figures import (
    error_curves,
    image_grid,
    reconstructions,
    samples,
    save_figure,
    training_curves,
    write_csv,
)
from fisherae.evaluation.figures.files import render
from fisherae.evaluation.figures.style import line_styles
from fisherae.evaluation.robustness import RobustnessPoint


def points(*errors: float) -> list[RobustnessPoint]:
    return [
        RobustnessPoint(float(level), error, error / 2, 0.5, 100, 0.1, 0.05)
        for level, error in enumerate(errors)
    ]


def raster(figure: Figure, panel: int = 0) -> np.ndarray:
    (image,) = figure.axes[panel].images
    return np.asarray(image.get_array())


@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_of_every_image_is_in_the_grid(channels: int) -> None:
    rows = [torch.rand(5, channels, 28, 28), torch.rand(3, channels, 28, 28)]
    shown = raster(image_grid(rows, ["first", "second"]))
    assert shown.shape == (2 * 30, 5 * 30, 3)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            tile = shown[30 * row + 1 : 30 * row + 29, 30 * column + 1 : 30 * column + 29]
            np.testing.assert_allclose(tile, image.expand(3, -1, -1).permute(1, 2, 0).numpy())
    assert (shown[30:, 3 * 30 :] == 1).all(), "beyond a short row the paper is white"


def test_value_range_is_black_and_white_and_the_rest_is_clipped() -> None:
    images = torch.tensor([-5.0, -1.0, 0.0, 1.0, 5.0]).view(5, 1, 1, 1).expand(5, 1, 28, 28)
    shown = raster(image_grid([images], value_range=(-1.0, 1.0)))
    np.testing.assert_allclose(shown[15, 15::30, 0], [0.0, 0.0, 0.5, 1.0, 1.0])


def test_row_labels_stand_at_the_middle_of_their_rows() -> None:
    (axes,) = image_grid([torch.rand(4, 1, 28, 28)] * 3, ["a", "b", "c"]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    np.testing.assert_allclose(axes.get_yticks(), [14.5, 44.5, 74.5])


def test_reconstructions_stand_under_their_originals_in_blocks() -> None:
    originals, vae = torch.rand(10, 1, 14, 14), torch.rand(10, 1, 14, 14)
    figure = reconstructions(originals, {"VAE": vae}, corrupted=originals + 1, columns=6)
    labels = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert labels == [["original", "input", "VAE"]] * 2
    second_block = raster(figure, 1)
    np.testing.assert_allclose(second_block[:14, :14, 0], originals[6, 0].numpy())
    np.testing.assert_allclose(second_block[30:44, :14, 0], vae[6, 0].numpy())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_samples_have_a_titled_panel_for_each_model(count: int) -> None:
    names = [f"model {index}" for index in range(count)]
    figure = samples({name: torch.rand(10, 1, 14, 14) for name in names})
    assert [axes.get_title() for axes in figure.axes] == names
    assert {raster(figure, panel).shape for panel in range(count)} == {(3 * 15, 4 * 15, 3)}


@pytest.mark.parametrize(
    "draw",
    [
        lambda: image_grid([]),
        lambda: image_grid([torch.rand(0, 1, 8, 8)]),
        lambda: image_grid([torch.rand(2, 2, 8, 8)]),
        lambda: image_grid([torch.rand(2, 1, 8, 8), torch.rand(2, 3, 8, 8)]),
        lambda: image_grid([torch.rand(2, 1, 8, 8)], ["one", "too many"]),
        lambda: reconstructions(torch.rand(3, 1, 8, 8), {"VAE": torch.rand(2, 1, 8, 8)}),
        lambda: reconstructions(torch.rand(0, 1, 8, 8), {}),
        lambda: samples({}),
        lambda: error_curves({"VAE": points(0.1)}, "fid", "level"),  # type: ignore[arg-type]
        lambda: training_curves({"VAE": [{"step": 1, "learning_rate": 0.1}]}),
        lambda: training_curves({}),
    ],
)
def test_what_cannot_be_drawn_is_an_input_error(draw: Any) -> None:
    with pytest.raises(InputError):
        draw()


def test_error_curves_show_the_numbers_and_their_spread() -> None:
    results = {"VAE": points(0.1, 0.4), "Fisher AE": points(0.2, 0.3)[::-1]}
    (axes,) = error_curves(results, "bce", "noise variance σ²").axes
    assert [line.get_label() for line in axes.lines] == ["VAE", "Fisher AE"]
    np.testing.assert_allclose(np.asarray(axes.lines[1].get_xydata()), [[0.0, 0.2], [1.0, 0.3]])
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    top = band[band[:, 0] == 1.0, 1].max()
    assert top == pytest.approx(0.4 + 0.1 / np.sqrt(128))
    assert axes.get_xlabel() == "noise variance σ²"


def test_a_measure_that_was_not_taken_is_named() -> None:
    colour = [RobustnessPoint(0.0, None, 0.1, None, 10, None, 0.1)]
    assert len(error_curves({"VAE": colour}, "mse", "level").axes[0].lines) == 1
    with pytest.raises(InputError, match="nmi was not measured for 'VAE'"):
        error_curves({"VAE": colour}, "nmi", "level")


def test_training_curves_have_a_panel_for_each_term_and_the_gradient_norm() -> None:
    book: dict[str, Any] = {
        "epoch": 1,
        "images": 128,
        "learning_rate": 1e-3,
        "seconds": 1.0,
        "note": "text",
    }
    book |= {"learning_rate/1": 1e-4, "grad_norm_max": 7.0}
    fisher = [
        book | {"step": s, "grad_norm": 1e6 / s**2, "stability": 1.0, "total": 9.0 - s}
        for s in range(1, 101)
    ]
    vae = [book | {"step": s, "grad_norm": 1.0, "kl": 2.0, "total": 3.0} for s in range(1, 51)]
    vae.append({"step": 50, "epoch": 1, "validation/mse": 0.1, "seconds": 1.0})
    figure = training_curves({"Fisher AE": fisher, "VAE": vae})
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == ["total", "stability", "kl", "validation/mse", "gradient norm"]
    assert [len(axes.lines) for axes in panels.values()] == [2, 1, 1, 1, 2]
    assert panels["gradient norm"].get_yscale() == "symlog"
    assert panels["total"].get_yscale() == "linear"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Fisher AE", "VAE"]


def test_long_runs_are_averaged_not_subsampled() -> None:
    rows = [{"step": s, "total": float(s % 2)} for s in range(6000)]
    (line,) = training_curves({"VAE": rows}).axes[0].lines
    values = np.asarray(line.get_ydata())
    assert len(values) <= 400
    np.testing.assert_allclose(values, 0.5, atol=0.05)


def test_a_family_keeps_its_colour_in_every_figure() -> None:
    together = line_styles(["VAE", "Fisher AE", "WAE-GAN", "PCA"])
    alone = line_styles(["mnist_fisher"])
    assert alone["mnist_fisher"]["color"] == together["Fisher AE"]["color"]
    assert len({style["color"] for style in together.values()}) == 4


def test_no_two_of_a_dozen_models_look_alike() -> None:
    names = [f"Fisher AE {index}" for index in range(6)] + [f"other {index}" for index in range(6)]
    looks = {tuple(map(str, style.values())) for style in line_styles(names).values()}
    assert len(looks) == 12


def test_saving_gives_png_and_svg_and_is_reproducible(tmp_path: Path) -> None:
    results = {"VAE": points(0.1, 0.4)}
    png, svg = save_figure(error_curves(results, "mse", "σ²"), tmp_path / "new" / "figure-5")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in svg.read_bytes()
    assert render(error_curves(results, "mse", "σ²"), "svg") == svg.read_bytes()


def test_csv_has_a_column_for_every_key(tmp_path: Path) -> None:
    rows = [{"model": "Fisher AE, s² = 1", "mse": 0.1}, {"model": "VAE", "mse": 0.2, "nmi": 0.5}]
    path = write_csv(tmp_path / "figure-1.csv", rows)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"model": "Fisher AE, s² = 1", "mse": "0.1", "nmi": ""},
            {"model": "VAE", "mse": "0.2", "nmi": "0.5"},
        ]
