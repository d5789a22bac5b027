from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import pytest
import torch
from markupsafe import Markup

from fisherae.errors import InputError
from fisherae.evaluation.figures import error_curves, image_grid
from fisherae.evaluation.report import Report, robustness_table
from fisherae.evaluation.robustness import RobustnessPoint

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Checks that tags nest, and keeps what a test may ask for."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append((self.open[-1], data))

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]

    def text_in(self, tag: str) -> list[str]:
        return [data for inside, data in self.words if inside == tag]


def points(*errors: float, nmi: float | None = 0.5) -> list[RobustnessPoint]:
    return [
        RobustnessPoint(level / 10, error, error, nmi, 100, 0.1, 0.1)
        for level, error in enumerate(errors)
    ]


def full_report() -> Report:
    report = Report("Robustness & more")
    for heading in ("One", "Two", "Three", "Four"):
        report.heading(heading).text("First paragraph.\n\nSecond paragraph.")
    report.table(
        ["model", "BCE"], [["VAE", 0.12345], ["Fisher AE", None], ["n", 60000]], "A table."
    )
    report.figure(image_grid([torch.rand(3, 1, 8, 8)]), "Images.", alt="three images")
    report.figure(error_curves({"VAE": [points(0.1, 0.2)]}, "bce", "σ²"), "Errors.")
    return report.command("fisherae demo")


def test_the_page_is_whole_and_needs_nothing_from_outside() -> None:
    page = Page(full_report().html())
    sources = page.values("src")
    assert [source.split(";")[0] for source in sources] == ["data:image/png", "data:image/svg+xml"]
    assert all(link.startswith("#") for link in page.values("href"))
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in page.text_in("style")[0]
    assert "@import" not in page.text_in("style")[0]


def test_every_part_is_there() -> None:
    page = Page(full_report().html())
    assert page.text_in("h1") == ["Robustness & more"]
    assert page.text_in("h2") == ["One", "Two", "Three", "Four"]
    assert page.tags.count("p") == 8
    assert page.text_in("td") == ["VAE", "0.1235", "Fisher AE", "–", "n", "60000"]
    assert page.text_in("code") == ["fisherae demo"]
    assert page.text_in("figcaption") == ["A table.", "Images.", "Errors."]
    assert page.values("alt") == ["three images", "Errors."]


def test_contents_link_to_headings_that_exist_in_long_reports_only() -> None:
    page = Page(full_report().html())
    links = [link.removeprefix("#") for link in page.values("href")]
    assert len(links) == 4
    assert links == page.values("id")
    assert "nav" not in Page(Report("Short").heading("Only").html()).tags


def test_all_text_is_escaped() -> None:
    attack = "<script>alert('x')</script>"
    report = Report(attack).heading(attack).text(attack).command(attack)
    report.table([attack], [[attack]], attack)
    report.figure(image_grid([torch.rand(1, 1, 8, 8)]), attack, alt=f'"{attack}')
    page = Page(report.html())
    assert "script" not in page.tags
    for tag in ("title", "h1", "h2", "p", "code", "th", "td", "figcaption"):
        assert page.text_in(tag) == [attack] * (2 if tag == "figcaption" else 1)
    assert page.values("alt") == [f'"{attack}']


def test_columns_of_numbers_stand_right() -> None:
    report = Report("t").table(["model", "a"], [["VAE", Markup("<strong>0.1</strong>")], ["b", 2]])
    page = Page(report.html())
    assert page.text_in("strong") == ["0.1"]
    assert page.values("class").count("number") == 3  # the head and two cells


def test_a_row_of_another_length_is_named() -> None:
    with pytest.raises(InputError, match="row 1 has 1 cells"):
        Report("t").table(["a", "b"], [[1, 2], [1]])


def test_writing_replaces_the_old_page_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out" / "report.html"
    Report("old").write(path)
    assert Report("Ωnew").write(path) == path
    assert Page(path.read_text(encoding="utf-8")).text_in("h1") == ["Ωnew"]
    assert list(path.parent.iterdir()) == [path]


def test_the_best_of_each_level_is_bold() -> None:
    results = {
        "VAE": [points(0.1, 0.4)],
        "Fisher AE": [points(0.2, 0.2)],
        "WAE": [points(0.1001, 0.9)],
    }
    header, rows = robustness_table(results, "bce")
    assert header == ["model", "0", "0.1"]
    bold = [[isinstance(cell, Markup) for cell in row] for row in rows]
    assert bold == [[False, True, False], [False, False, True], [False, True, False]]


def test_the_best_nmi_is_the_highest_and_one_not_measured_is_a_gap() -> None:
    nmi = {"a": 0.3, "b": 0.6, "c": None}
    results = {name: [points(0.1, nmi=value)] for name, value in nmi.items()}
    _, rows = robustness_table(results, "nmi")
    assert rows == [["a", "0.300"], ["b", Markup("<strong>0.600</strong>")], ["c", None]]


def test_models_at_different_levels_make_no_table() -> None:
    with pytest.raises(InputError, match="same levels"):
        robustness_table({"a": [points(0.1)], "b": [points(0.1, 0.2)]}, "mse")


def test_several_runs_are_their_mean_and_deviation_and_the_best_mean_is_bold() -> None:
    results = {
        "VAE": [points(0.1), points(0.3)],
        "Fisher AE": [points(0.21), points(0.15), points(0.18)],
    }
    _, rows = robustness_table(results, "mse")
    # The deviation of two numbers is their distance by √2, that of 0.15, 0.18, 0.21 is 0.03.
    assert rows == [
        ["VAE", "0.2000 ± 0.1414"],
        ["Fisher AE", Markup("<strong>0.1800 ± 0.0300</strong>")],
    ]
    page = Page(Report("t").table(["model", "0"], rows).html())
    assert page.values("class").count("number") == 3, "means with deviations stand right"


@pytest.mark.parametrize(("measure", "best"), [("probe", "b"), ("nmi_tsne", "a")])
def test_of_the_clusters_and_the_probe_the_highest_is_best(
    measure: Literal["probe", "nmi_tsne"], best: str
) -> None:
    (point,) = points(0.1)
    results = {
        "a": [[replace(point, probe=0.4, nmi_tsne=0.9)]],
        "b": [[replace(point, probe=0.5, nmi_tsne=0.8)]],
    }
    _, rows = robustness_table(results, measure)
    assert [row[0] for row in rows if isinstance(row[1], Markup)] == [best]
