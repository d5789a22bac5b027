import csv
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from fisherae.errors import InputError
from fisherae.evaluation.figures import (
    error_curves,
    generation_bars,
    image_grid,
    interleaved,
    paper_panels,
    pareto_front,
    reconstructions,
    samples,
    save_figure,
    tradeoff,
    training_curves,
    tsne_maps,
    write_csv,
)
from fisherae.evaluation.figures.files import render
from fisherae.evaluation.figures.style import line_styles
from fisherae.evaluation.robustness import RobustnessPoint

IMAGES = torch.rand(3, 1, 8, 8)
MAP, LABELS = torch.randn(40, 2), torch.arange(40) % 10


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


def test_each_reconstruction_stands_below_its_original() -> None:
    truth, answers = torch.rand(7, 1, 14, 14), torch.rand(7, 1, 14, 14)
    pairs = interleaved(truth, answers, columns=3)
    assert torch.equal(pairs, torch.cat([truth[:3], answers[:3], truth[3:6], answers[3:6]]))


def test_the_paper_shows_models_side_by_side_and_tasks_below_each_other() -> None:
    rows = {
        task: {model: torch.rand(8, 1, 14, 14) for model in ("Fisher AE", "VAE", "WAE-GAN")}
        for task in ("noisy reconstructions", "samples")
    }
    figure = paper_panels(rows, columns=4)
    assert [axes.get_title() for axes in figure.axes] == ["Fisher AE", "VAE", "WAE-GAN", *[""] * 3]
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["noisy reconstructions", "", "", "samples", "", ""]
    for panel, images in enumerate(image for row in rows.values() for image in row.values()):
        shown = raster(figure, panel)
        assert shown.shape == (2 * 15, 4 * 15, 3)
        np.testing.assert_allclose(shown[15:29, :14, 0], images[4, 0].numpy())


def test_maps_stand_by_model_and_level_and_are_named() -> None:
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    labels = torch.arange(400) % 4
    shown = {
        model: {level: centres[labels] + torch.randn(400, 2) for level in ("σ² = 0", "σ² = 1")}
        for model in ("Fisher AE", "VAE")
    }
    nmi = {model: {"σ² = 0": 0.75, "σ² = 1": 0.5} for model in shown}
    figure = tsne_maps(shown, labels, nmi)
    assert [axes.get_title() for axes in figure.axes] == ["Fisher AE", "VAE", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["σ² = 0", "", "σ² = 1", ""]
    for axes, panel in zip(figure.axes, ("0.75", "0.75", "0.50", "0.50"), strict=True):
        (scatter,) = axes.collections
        assert len(np.unique(scatter.get_facecolors(), axis=0)) == 4
        *names, corner = axes.texts
        assert corner.get_text() == f"NMI {panel}"
        assert [text.get_text() for text in names] == ["0", "1", "2", "3"]
        places = np.array([text.get_position() for text in names])
        np.testing.assert_allclose(places, centres.numpy(), atol=2)
    points = np.asarray(figure.axes[1].collections[0].get_offsets())
    np.testing.assert_allclose(points, shown["VAE"]["σ² = 0"].numpy(), rtol=1e-6)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "2", "3"]


def test_two_names_never_stand_at_one_place() -> None:
    (axes,) = tsne_maps({"VAE": {"σ² = 9": torch.randn(1000, 2)}}, torch.arange(1000) % 10).axes
    places = torch.tensor([text.get_position() for text in axes.texts])
    assert torch.pdist(places).min() > 0.3


def test_a_map_of_many_points_makes_a_small_svg() -> None:
    figure = tsne_maps({"VAE": {"σ² = 0": torch.randn(10_000, 2)}}, torch.arange(10_000) % 10)
    assert len(render(figure, "svg")) < 200_000


def test_bars_stand_by_model_with_their_errors_above_the_floor() -> None:
    scores = {
        "VAE": {"N(0, I)": (89.1, 1.1)},
        "Fisher AE": {"N(0, I)": (80.0, 0.5), "exponential": (84.7, None)},
    }
    figure = generation_bars(scores, "FID", floor=2.5)
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [89.1, 80.0, 84.7]
    places = [round(bar.get_x() + bar.get_width() / 2, 2) for bar in axes.patches]
    assert places == [0.0, 0.88, 1.12]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["VAE", "Fisher AE"]
    assert [text.get_text() for text in axes.texts] == ["89.1", "80.0", "84.7"]
    error = axes.collections[0].get_segments()[0]
    np.testing.assert_allclose(error[:, 1], [88.0, 90.2])
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["N(0, I)", "exponential", "real against real images, 2.5"]
    assert axes.patches[0].get_hatch() == axes.patches[1].get_hatch() != axes.patches[2].get_hatch()


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
        lambda: paper_panels({}),
        lambda: paper_panels({"samples": {}}),
        lambda: paper_panels({"samples": {"VAE": torch.rand(0, 1, 8, 8)}}),
        lambda: paper_panels({"a": {"VAE": IMAGES}, "b": {"WAE": IMAGES}}),
        lambda: interleaved(IMAGES, IMAGES[:2]),
        lambda: tsne_maps({}, LABELS),
        lambda: tsne_maps({"VAE": {"0": MAP}, "WAE": {"1": MAP}}, LABELS),
        lambda: tsne_maps({"VAE": {"0": MAP[:5]}}, LABELS),
        lambda: tsne_maps({"VAE": {"0": MAP}}, torch.arange(40)),
        lambda: generation_bars({}, "FID"),
        lambda: generation_bars({"VAE": {str(kind): (1.0, None) for kind in range(8)}}, "FID"),
        lambda: error_curves({"VAE": [points(0.1)]}, "fid", "level"),  # type: ignore[arg-type]
        lambda: training_curves({"VAE": [{"step": 1, "learning_rate": 0.1}]}),
        lambda: training_curves({}),
        lambda: tradeoff({}, "x", "y", ["VAE"]),
        lambda: tradeoff({"VAE": []}, "x", "y", ["VAE"]),
    ],
)
def test_what_cannot_be_drawn_is_an_input_error(draw: Any) -> None:
    with pytest.raises(InputError):
        draw()


def test_error_curves_show_the_numbers_and_their_spread() -> None:
    results = {"VAE": [points(0.1, 0.4)], "Fisher AE": [points(0.2, 0.3)[::-1]]}
    (axes,) = error_curves(results, "bce", "noise variance σ²").axes
    assert [line.get_label() for line in axes.lines] == ["VAE", "Fisher AE"]
    np.testing.assert_allclose(np.asarray(axes.lines[1].get_xydata()), [[0.0, 0.2], [1.0, 0.3]])
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    top = band[band[:, 0] == 1.0, 1].max()
    assert top == pytest.approx(0.4 + 0.1 / np.sqrt(100))  # fewer images than a batch of 128
    assert axes.get_xlabel() == "noise variance σ²"
    assert "over test batches of 100" in axes.get_legend().get_title().get_text()


def test_of_several_runs_the_mean_and_their_deviation_are_shown() -> None:
    results = {"VAE": [points(0.1, 0.2), points(0.3, 0.2)], "WAE": [points(0.5, 0.5)]}
    (axes,) = error_curves(results, "mse", "level").axes
    np.testing.assert_allclose(np.asarray(axes.lines[0].get_ydata()), [0.1, 0.1])
    vae, wae = (np.asarray(band.get_paths()[0].vertices) for band in axes.collections)
    # Of 0.05 and 0.15 the unbiased deviation is 0.1 / √2.
    assert vae[vae[:, 0] == 0.0, 1].max() == pytest.approx(0.1 + 0.1 / np.sqrt(2))
    assert vae[vae[:, 0] == 1.0, 1].max() == pytest.approx(0.1)
    np.testing.assert_allclose(wae[:, 1], 0.25), "a single run has no band among runs"
    assert "over runs" in axes.get_legend().get_title().get_text()


@pytest.mark.parametrize("measure", ["nmi", "nmi_tsne", "probe"])
def test_a_single_run_has_no_band_of_what_has_no_batches(
    measure: Literal["nmi", "nmi_tsne", "probe"],
) -> None:
    (point,) = points(0.1)
    (axes,) = error_curves(
        {"VAE": [[replace(point, probe=0.7, nmi_tsne=0.6)]]}, measure, "level"
    ).axes
    expected = {"nmi": 0.5, "nmi_tsne": 0.6, "probe": 0.7}[measure]
    np.testing.assert_allclose(np.asarray(axes.lines[0].get_ydata()), [expected])
    np.testing.assert_allclose(axes.collections[0].get_paths()[0].vertices[:, 1], expected)
    assert axes.get_legend().get_title().get_text() == ""


def test_a_measure_that_was_not_taken_is_named() -> None:
    colour = [[RobustnessPoint(0.0, None, 0.1, None, 10, None, 0.1)]]
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
    results = {"VAE": [points(0.1, 0.4)]}
    png, svg = save_figure(error_curves(results, "mse", "σ²"), tmp_path / "new" / "figure-5")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in svg.read_bytes()
    again = save_figure(error_curves(results, "mse", "σ²"), tmp_path / "again")
    assert [path.read_bytes() for path in again] == [png.read_bytes(), svg.read_bytes()]


def test_csv_has_a_column_for_every_key(tmp_path: Path) -> None:
    rows = [{"model": "Fisher AE, s² = 1", "mse": 0.1}, {"model": "VAE", "mse": 0.2, "nmi": 0.5}]
    path = write_csv(tmp_path / "figure-1.csv", rows)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"model": "Fisher AE, s² = 1", "mse": "0.1", "nmi": ""},
            {"model": "VAE", "mse": "0.2", "nmi": "0.5"},
        ]


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_no_mixture_of_measures_would_leave(seed: int) -> None:
    """A point is on it if and only if the box between it and the origin holds no other."""
    places = np.random.default_rng(seed).random((40, 2))
    named = {str(index): (x, y) for index, (x, y) in enumerate(places.tolist())}
    expected = {
        str(i) for i, place in enumerate(places) if (places <= place).all(axis=1).sum() == 1
    }
    front = pareto_front(named)
    assert set(front) == expected
    assert [named[name][0] for name in front] == sorted(named[name][0] for name in front)


def test_equal_points_do_not_beat_each_other() -> None:
    assert pareto_front({"a": (1.0, 1.0), "b": (1.0, 1.0), "c": (1.0, 2.0)}) == ["a", "b"]


def crowded() -> dict[str, list[tuple[float, float]]]:
    """Twelve models close together, three runs each."""
    runs = 1 + 0.02 * np.random.default_rng(0).standard_normal((12, 3, 2))
    return {
        f"model number {index}": [(x, y) for x, y in run.tolist()] for index, run in enumerate(runs)
    }


def test_tradeoff_shows_means_and_standard_deviations() -> None:
    results = crowded()
    (axes,) = tradeoff(results, "x", "y", ["model number 3"]).axes
    for (line, _, (wide, high)), runs in zip(axes.containers, results.values(), strict=True):
        mean, std = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1)
        np.testing.assert_allclose(np.asarray(line.get_xydata())[0], mean)
        (horizontal,), (vertical,) = wide.get_segments(), high.get_segments()
        np.testing.assert_allclose(horizontal[:, 0], [mean[0] - std[0], mean[0] + std[0]])
        np.testing.assert_allclose(vertical[:, 1], [mean[1] - std[1], mean[1] + std[1]])


def test_names_cover_no_other_name_and_no_point() -> None:
    figure = tradeoff(crowded(), "x", "y", ["model number 3"])
    (axes,) = figure.axes
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
    assert len(boxes) == 12
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
    for container in axes.containers:
        ((x, y),) = axes.transData.transform(container[0].get_xydata())
        assert not any(box.contains(x, y) for box in boxes)


def test_a_name_is_nearest_to_its_own_point_or_led_to_from_it() -> None:
    """As in a row of points, where the place beside one is before the next."""
    row = {f"model {index}": [(1 + index / 20, 1 + index % 2 / 50)] for index in range(8)}
    figure = tradeoff({**row, "far": [(2.0, 2.0)]}, "x", "y", ["model 3"])
    (axes,) = figure.axes
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in axes.texts if isinstance(text, Annotation)]
    led = {text.xy for text in texts if not text.get_text()}
    names = [text for text in texts if text.get_text()]
    points = axes.transData.transform([text.xy for text in names])
    assert len(led) < len(names) == 9
    for index, text in enumerate(names):
        box = text.get_window_extent(renderer)
        inside = np.clip(points, box.min, box.max)
        gaps = np.linalg.norm(points - inside, axis=1)
        assert text.xy in led or gaps.argmin() == index, text.get_text()


def test_an_axis_over_decades_is_logarithmic() -> None:
    results = {"VAE": [(1.0, 2.0)], "WAE-GAN": [(1.1, 200.0)]}
    (axes,) = tradeoff(results, "x", "y", ["VAE"]).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")
