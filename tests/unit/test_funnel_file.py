"""The funnel as a file: what it says, how it is told what is wrong, and where it is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from attribution.errors import Misconfigured
from attribution.funnel import DEFAULT_FUNNEL, Funnel, FunnelStage
from attribution.funnel_file import parse_funnel
from runtime.settings import Settings
from runtime.wiring import funnel_of

SHOP = """
[[stages]]
name = "visit"
reached_by = "page_view"

[[stages]]
name = "customer"
reached_by = ["purchase", "Order Paid"]
"""


def test_a_file_says_stages_in_order() -> None:
    funnel = parse_funnel(SHOP)
    assert funnel == Funnel(
        (FunnelStage("visit", ("page_view",)), FunnelStage("customer", ("purchase", "Order Paid")))
    )
    assert funnel.names == ("visit", "customer")
    assert funnel.places == {"page_view": 0, "purchase": 1, "Order Paid": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a funnel has 1 to 20 stages; each is a table [[stages]]"),
        ("\n".join(f"[[stages]]\nname = 's{n}'\nreached_by = 'e{n}'" for n in range(21)), "1 to 20 stages"),
        ("[[stages]]\nname = 'Visit'\nreached_by = 'a'", "stages.0.name: 'Visit' is no name of a stage"),
        ("[[stages]]\nname = 'v'\nreached_by = []", "stages.0.reached_by: "),
        ("[[stages]]\nname = 'v'", "stages.0.reached_by: Field required"),
        ("[[stages]]\nname = 'v'\nreachd_by = 'a'", "'reachd_by' is no key here; use name, reached_by"),
        ("[[steps]]\nname = 'v'", "'steps' is no key here; use stages"),
        (SHOP.replace("customer", "visit"), "two stages are called 'visit'"),
        (SHOP.replace("Order Paid", "page_view"), "'page_view' reaches both 'visit' and 'customer'"),
        ("[[stages", "is no TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, words: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse_funnel(text, file="f.toml")
    assert str(caught.value).startswith("f.toml: ")
    assert words in str(caught.value)


def test_the_file_is_found_in_the_data_folder_or_by_its_name(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert funnel_of(settings) == DEFAULT_FUNNEL
    (tmp_path / "funnel.toml").write_text(SHOP)
    assert funnel_of(settings).names == ("visit", "customer")
    other = tmp_path / "other.toml"
    with pytest.raises(Misconfigured, match="HEADWATER_FUNNEL_FILE"):
        funnel_of(settings.model_copy(update={"funnel_file": other}))
    other.write_text(SHOP.replace("visit", "seen"))
    assert funnel_of(settings.model_copy(update={"funnel_file": other})).names == ("seen", "customer")
    other.write_text("stages = 1")
    with pytest.raises(Misconfigured, match=r"other\.toml: stages"):
        funnel_of(settings.model_copy(update={"funnel_file": other}))
