"""The policy file: what it says is the policy, what is wrong with it is told line by line, what it says is shown."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import Misconfigured
from attribution.models import MODELS, division_of
from attribution.models.plugins import remove_plugin
from attribution.persons import IdentityRules
from attribution.policy import DAY_MS, AttributionPolicy, BrandHandling, DirectHandling, ViewHandling
from attribution.policy_file import PolicyFileError, parse_policy
from attribution.policy_text import policy_toml
from attribution.touchpoints import TouchKind
from runtime.plugins import GROUP, add_all
from runtime.settings import Settings
from runtime.wiring import pin_policy, policy_of

DEFAULT = AttributionPolicy()


def parsed(text: str) -> AttributionPolicy:
    return parse_policy(text, DEFAULT)


def test_an_empty_file_changes_nothing() -> None:
    """Not the version either."""
    assert parsed("") == DEFAULT
    assert parsed("").version == DEFAULT.version


def test_everything_that_a_file_can_say() -> None:
    """Each key in its unit."""
    policy = parsed(
        """
        [sessions]
        gap_minutes = 20
        [conversions.purchase]
        lookback_days = 90
        view_days = 0.5
        [conversions.lead]
        lookback_days = 30
        [stages]
        lead = ["lead"]
        [views]
        count = "unless_clicked"
        [touches]
        direct = "only_if_alone"
        excluded_channels = ["Podcast"]
        [[channels.rules]]
        channel = "Podcast"
        landing_page = { starts_with = "/podcast" }
        [referrers]
        ignored = ["Pay.Example"]
        [brand]
        words = ["lumen"]
        handling = "exclude"
        [identity]
        max_users_per_visitor = 2
        max_emails_per_visitor = 4
        max_crm_contacts_per_visitor = 5
        max_visitors_per_id = 50
        max_visitors_per_person = 60
        blocked_ids = ["Till-1", "till-1", "abc"]
        account_view = true
        max_visitors_per_account = 70
        [models.mine]
        kind = "weights"
        first = 0.5
        middle = 0.25
        last = 0.25
        """
    )
    assert policy.session_gap_ms == 20 * 60_000
    assert policy.conversion_lookbacks_ms == {"purchase": 90 * DAY_MS, "lead": 30 * DAY_MS}
    assert policy.lookback_ms("purchase", TouchKind.view) == DAY_MS // 2
    assert policy.lookback_ms("lead", TouchKind.view) == DAY_MS
    assert policy.lookback_ms("lead", TouchKind.click) == 30 * DAY_MS
    assert (policy.views, policy.direct) == (ViewHandling.unless_clicked, DirectHandling.only_if_alone)
    assert (policy.ignored_referrers, policy.brand) == (("pay.example",), BrandHandling.exclude)
    assert policy.identity == IdentityRules(
        max_users_per_visitor=2,
        max_emails_per_visitor=4,
        max_crm_contacts_per_visitor=5,
        max_visitors_per_id=50,
        max_visitors_per_person=60,
        blocked_ids=("abc", "till-1"),
        account_view=True,
        max_visitors_per_account=70,
    )
    assert parsed("[identity]\nmax_users_per_visitor = 2").identity == IdentityRules(max_users_per_visitor=2)
    assert policy.models == (*DEFAULT.models, "mine")
    mine = policy.custom_models["mine"]
    assert (mine.first, mine.middle, mine.last) == (2, 1, 1)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[sesions]", "'sesions' is no key here; use sessions"),
        ("[sessions]\ngap = 3", "sessions: 'gap' is no key here; use gap_minutes"),
        ("[sessions]\ngap_minutes = 0", "sessions.gap_minutes: should be greater than 0"),
        ('[touches]\ndirect = "no"', "touches.direct: should be 'count', 'only_if_alone' or 'never'"),
        ('[touches]\nexcluded_channels = ["Paid Serch"]', "there is no channel 'Paid Serch'"),
        ('[stages]\nlead = ["demo"]', "stages.lead: 'demo' is no conversion"),
        ('[views]\nevents = ["page_view"]', "views.events: page_view is a visit"),
        ('[referrers]\nignored = ["https://a.example"]', "is no host"),
        ("[identity]\nmax_users = 2", "identity: 'max_users' is no key here; use max_users_per_visitor"),
        ("[identity]\nmax_users_per_visitor = -1", "identity.max_users_per_visitor: should be greater than"),
        ("[identity]\nmax_users_per_visitor = true", "identity.max_users_per_visitor: should be a valid int"),
        (
            "[identity]\nmax_emails_per_visitor = 65",
            "identity.max_emails_per_visitor: should be less than or",
        ),
        (
            '[identity]\nmax_crm_contacts_per_visitor = "x"',
            "identity.max_crm_contacts_per_visitor: should be",
        ),
        (
            "[identity]\nmax_visitors_per_id = 201",
            "identity.max_visitors_per_id: should be less than or equal",
        ),
        ("[identity]\nmax_visitors_per_person = 0", "identity.max_visitors_per_person: should be greater"),
        ("[identity]\naccount_view = 1", "identity.account_view: should be a valid boolean"),
        (
            "[identity]\nmax_visitors_per_account = 5001",
            "identity.max_visitors_per_account: should be less than or equal to 5000",
        ),
        ('[identity]\nblocked_ids = [""]', "identity.blocked_ids.0: "),
        (
            '[identity]\nblocked_ids = ["user:42"]',
            "identity.blocked_ids: 'user:42': write the value without its",
        ),
        ('[[channels.rules]]\nchannel = "X"', "has no condition"),
        ('[[channels.rules]]\nchannel = "X"\nsource = { matches = "(" }', "the pattern '('"),
        ('[credit]\nmodels = ["guess"]', "there is no model 'guess'"),
        ('[credit]\nplugins = ["guess"]', "no installed plug-in has a model 'guess'"),
        ('[models.linear]\nkind = "weights"\nfirst = 1', "models.linear: there is a model of that name"),
        ('[models.Mine]\nkind = "weights"\nfirst = 1', "a name has a-z"),
        ('[models.mine]\nkind = "weights"', "gives nothing to anybody"),
        (
            '[models.mine]\nkind = "positions"\npositions = [0, 1]',
            "positions must begin with a number above 0",
        ),
        ('[models.mine]\nkind = "model"\nmodel = "guess"\nwindow_days = 1', "there is no model 'guess'"),
        ("[", "is no TOML"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, line: str) -> None:
    """One line that says what to change."""
    with pytest.raises(PolicyFileError) as caught:
        parsed(text)
    assert line in caught.value.lines[0]


def test_every_wrong_line_is_told() -> None:
    """Not only the first."""
    with pytest.raises(PolicyFileError) as caught:
        parsed('[sessions]\ngap = 1\n[touches]\ndirect = "no"')
    assert len(caught.value.lines) == 2
    assert "1 more" in str(caught.value)


custom = st.one_of(
    st.builds(
        'kind = "weights"\nfirst = {}\nmiddle = {}\nlast = {}'.format, *[st.integers(1, 9).map(str)] * 3
    ),
    st.builds(
        'kind = "positions"\npositions = [{}, {}]\nrest = {}\ncounted_from = "last"'.format,
        *[st.sampled_from(["1", "0.5", "2.25"])] * 3,
    ),
    st.builds(
        'kind = "model"\nmodel = "{}"\nwindow_days = {}'.format, st.sampled_from(sorted(MODELS)), st.just(7)
    ),
)


@given(
    custom=custom,
    gap=st.sampled_from(["0.001", "1", "29.5"]),
    views=st.sampled_from(list(ViewHandling)),
    days=st.sampled_from(["0.1", "1", "365"]),
    identity=st.sampled_from(
        ["", "max_users_per_visitor = 0", "account_view = true", 'blocked_ids = ["till \\"1\\"", "ä"]']
    ),
)
@settings(deadline=None)
def test_a_policy_written_out_is_the_same_policy(
    custom: str, gap: str, views: str, days: str, identity: str
) -> None:
    """``headwater policy`` shows a file that would do."""
    policy = parsed(
        f'[sessions]\ngap_minutes = {gap}\n[views]\ncount = "{views}"\n[conversions."a b"]\nlookback_days = {days}\n'
        f"view_days = 1\n[stages]\nlead = []\nopportunity = []\n[identity]\n{identity}\n[models.mine]\n{custom}\n"
    )
    again = parsed(policy_toml(policy))
    assert again == policy
    assert again.version == policy.version


def test_types_that_bring_no_money_are_said_with_their_window() -> None:
    """Carts and videos by default, also where the file does not name them; saying the default leaves the version."""
    lead = "[conversions.lead]\nlookback_days = 9\n[stages]\nlead = ['lead']\nopportunity = []\n"
    usual = parsed(lead)
    assert usual.valueless == DEFAULT.valueless == ("add_to_cart", "video_view")
    policy = parsed(
        f"{lead}[conversions.quote]\nlookback_days = 30\nbrings_money = false\n"
        "[conversions.add_to_cart]\nlookback_days = 7\nbrings_money = true\n"
        "[conversions.video_view]\nlookback_days = 7\n"
    )
    assert policy.valueless == ("video_view", "quote")
    assert parsed(policy_toml(policy)) == policy
    assert parsed(lead.replace("= 9", "= 9\nbrings_money = true")).version == usual.version
    with pytest.raises(PolicyFileError, match=r"conversions\.lead\.brings_money"):
        parsed(lead.replace("= 9", "= 9\nbrings_money = 'no'"))


def test_a_variable_against_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has all rules; who changed a variable meant something by it."""
    (tmp_path / "policy.toml").write_text("[sessions]\ngap_minutes = 20\n")
    assert policy_of(Settings(data_dir=tmp_path)).session_gap_ms == 20 * 60_000
    monkeypatch.setenv("HEADWATER_SESSION_GAP_MINUTES", "20")
    assert policy_of(Settings(data_dir=tmp_path)).session_gap_ms == 20 * 60_000
    monkeypatch.setenv("HEADWATER_SESSION_GAP_MINUTES", "40")
    with pytest.raises(Misconfigured, match="HEADWATER_SESSION_GAP_MINUTES"):
        policy_of(Settings(data_dir=tmp_path))


def test_parts_that_start_later_read_the_policy_of_the_start(tmp_path: Path) -> None:
    """Whatever becomes of the file meanwhile."""
    (tmp_path / "policy.toml").write_text("[sessions]\ngap_minutes = 20\n")
    pinned = pin_policy(Settings(data_dir=tmp_path))
    (tmp_path / "policy.toml").write_text("[sessions]\ngap_minutes = 1\n")
    assert policy_of(Settings(data_dir=tmp_path, policy=pinned)).session_gap_ms == 20 * 60_000


def install(folder: Path, entries: str, code: str) -> None:
    """A distribution as an installer leaves it."""
    (folder / "acme_models.py").write_text("from fractions import Fraction\n" + code)
    info = folder / "acme_models-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-models\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}\n")


def found_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    from importlib.metadata import distributions

    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "acme_models", raising=False)
    points = [p for dist in distributions(path=[str(folder)]) for p in dist.entry_points if p.group == GROUP]
    return add_all(points)


def test_a_plug_in_is_a_model_once_the_policy_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by its entry point; its distribution is part of the policy's version."""
    code = "def all_to_third(path, policy):\n    n = len(path.touchpoints)\n"
    install(tmp_path, "third = acme_models:all_to_third", code + "    return (0,) * (n - 1) + (1,)\n")
    found = found_in(tmp_path, monkeypatch)
    try:
        assert found == {"third": "acme-models 1.2"}
        policy = parse_policy('[credit]\nplugins = ["third"]', DEFAULT, plugins=found)
        assert policy.models == (*DEFAULT.models, "third")
        assert policy.plugins == found
        assert policy.version != DEFAULT.version
        assert division_of("third", policy)
        with pytest.raises(PolicyFileError, match="choose from"):
            parse_policy('[credit]\nmodels = ["third"]', DEFAULT, plugins=found)
    finally:
        remove_plugin("third")


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("bad", "raise KeyError('x')", "raised KeyError"),
        ("bad", "return ()", "one weight per touchpoint"),
        ("bad", "return (Fraction(1, 2),) * len(path.touchpoints)", "add up to"),
        ("bad", "return (0.5,) * len(path.touchpoints)", "neither Fraction nor int"),
        ("bad", "return (-1, 2, *(0,) * 99)[: len(path.touchpoints)]", "negative|one weight"),
        ("linear", "return ()", "there is one of that name"),
    ],
)
def test_a_plug_in_that_breaks_the_promise_stops_the_start(
    name: str, body: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried before it is trusted, and named."""
    install(tmp_path, f"{name} = acme_models:weigh", f"def weigh(path, policy):\n    {body}\n")
    with pytest.raises(Misconfigured, match=words):
        found_in(tmp_path, monkeypatch)
    assert "bad" not in MODELS


def test_the_command_shows_the_policy_and_checks_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 with every wrong line; what is shown is a file again."""
    from typer.testing import CliRunner

    from runtime.cli import app

    file = tmp_path / "policy.toml"
    file.write_text('[touches]\ndirect = "never"\n')
    monkeypatch.setenv("HEADWATER_DATA_DIR", str(tmp_path))
    shown = CliRunner().invoke(app, ["policy"])
    assert shown.exit_code == 0
    assert 'direct = "never"  # default: "count"' in shown.output
    assert parsed(shown.output) == parsed(file.read_text())
    assert CliRunner().invoke(app, ["policy", "check", str(file)]).output.startswith("right: policy ")
    file.write_text("[touches]\ndirct = 1\n[views]\nevent = []\n")
    wrong = CliRunner().invoke(app, ["policy", "check", str(file)])
    assert wrong.exit_code == 2
    assert "'dirct' is no key here" in wrong.output
    assert "'event' is no key here" in wrong.output
