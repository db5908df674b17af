"""What the gateway says about its settings at start, and of those that cannot be used."""

from fractions import Fraction
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from pydantic import ValidationError

from server import commands
from server.access.keys import Keys
from server.origins import changed, mistyped, origins, outdated
from server.settings import Settings
from tests.support.serving import small_windows


def test_what_differs_from_the_defaults_is_told() -> None:
    assert changed(Settings.model_validate({})) == {}
    given = {"port": 1, "repository": Path("models"), "max_streams": 4}
    assert changed(Settings.model_validate(given)) == {"port": 1, "repository": "models"}


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        (
            "ECHOMIMIC_MAX_STREAM",
            "ECHOMIMIC_MAX_STREAM is no setting; did you mean ECHOMIMIC_MAX_STREAMS?",
        ),
        ("echomimic_porrt", "echomimic_porrt is no setting; did you mean ECHOMIMIC_PORT?"),
        ("ECHOMIMIC_XYZ", "ECHOMIMIC_XYZ is no setting"),
        (
            "ECHOMIMIC_WINDOW_FRAMES",
            "ECHOMIMIC_WINDOW_FRAMES is no setting any more; write ECHOMIMIC_WINDOW_LADDER=17,33",
        ),
    ],
)
def test_a_mistyped_variable_is_named_with_the_nearest(variable: str, line: str) -> None:
    assert list(mistyped([variable])) == [line]


def test_variables_that_are_settings_or_not_ours_are_not_named() -> None:
    assert not list(mistyped(["ECHOMIMIC_PORT", "echomimic_max_streams", "PATH", "ECHO_PORT"]))
    assert not list(mistyped(["WINDOW_FRAMES"]))


def test_an_option_of_earlier_versions_is_named_with_what_to_write_instead() -> None:
    words = ["--port=1", "--first-window-frames=5", "--window-frames", "9", "--window-ladder", "5"]
    assert list(outdated(words)) == [
        f"--{name} is no option any more; write --window-ladder=17,33"
        for name in ("first-window-frames", "window-frames")
    ]


def test_a_style_is_stated_by_the_names_that_users_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLE_PROMPT", "natural")
    monkeypatch.setenv("STYLE_CFG", "2.5")
    settings = Settings.model_validate({})
    assert (settings.prompt, settings.style_cfg) == ("natural", 2.5)
    given = {"STYLE_PROMPT": "natural", "STYLE_CFG": "2.5"}
    assert origins(given, []) == {"prompt": "STYLE_PROMPT", "style_cfg": "STYLE_CFG"}


def test_the_buffer_is_stated_by_the_name_that_users_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUFFER_SECONDS", "0.5")
    assert Settings.model_validate({}).buffer_seconds == 0.5
    assert origins({"BUFFER_SECONDS": "0.5"}, []) == {"buffer_seconds": "BUFFER_SECONDS"}
    monkeypatch.setenv("BUFFER_SECONDS", "11")
    with pytest.raises(ValidationError, match="buffer_seconds"):
        Settings.model_validate({})


def test_the_gateways_own_names_win_over_those_that_users_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"STYLE_PROMPT": "natural", "ECHOMIMIC_PROMPT": "artistic", "STYLE_CFG": ""}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings.model_validate({})
    assert (settings.prompt, settings.style_cfg) == ("artistic", None)
    assert origins(given, []) == {"prompt": "ECHOMIMIC_PROMPT"}
    assert origins(given, ["--prompt=mine"]) == {"prompt": "--prompt"}
    assert small_windows(prompt="mine").prompt == "mine"


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("15", Fraction(15)),
        ("23.976", Fraction(24_000, 1001)),
        ("30000/1001", Fraction(30_000, 1001)),
    ],
)
def test_a_rate_of_frames_is_exact(
    monkeypatch: pytest.MonkeyPatch, text: str, rate: Fraction
) -> None:
    monkeypatch.setenv("TARGET_FPS", text)
    assert Settings.model_validate({}).frame_rate == rate


@pytest.mark.parametrize("text", ["7", "31", "12.5", "0/0", "many", "nan"])
def test_a_rate_of_frames_that_is_not_offered_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="send a whole number of 8 to 30"):
        small_windows(target_fps=text)


@pytest.mark.parametrize("endpoint", ["collector:4317", "grpc://collector:4317", ""])
def test_where_traces_go_is_a_url(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="begins with http:// or https://"):
        small_windows(otlp_endpoint=endpoint)


def test_traces_take_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("server.setting_values.version", none)
    with pytest.raises(ValidationError, match="needs the extra `traces`"):
        small_windows(otlp_endpoint="http://collector:4317")


def test_a_strength_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLE_CFG", "much")
    with pytest.raises(ValidationError, match="style_cfg"):
        Settings.model_validate({})


@pytest.mark.parametrize(
    ("ladder", "expected"),
    [("9", (9,)), ("9,17,33", (9, 17, 33)), ("9, 9, 17", (9, 9, 17)), ([17, 33], (17, 33))],
)
def test_windows_are_a_ladder(ladder: object, expected: tuple[int, ...]) -> None:
    assert small_windows(window_ladder=ladder).window_ladder == expected


def test_a_ladder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOMIMIC_WINDOW_LADDER", "9,17,33")
    assert Settings.model_validate({}).window_ladder == (9, 17, 33)


@pytest.mark.parametrize(
    ("ladder", "problem"),
    [
        ("", "valid integer"),
        ((), "at least as long as the one before"),
        ("17,9", "at least as long as the one before, as in 9,17,33; got '17,9'"),
        ("9,18", r"a window has 4k \+ 1 frames, as 17 or 33; got 18"),
        ("9,261", "less than or equal to 257"),
        # The overlap here is 5.
        ("5,9", "overlap_frames must be smaller than every window"),
    ],
)
def test_what_is_no_ladder_is_refused(ladder: object, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        small_windows(window_ladder=ladder, overlap_frames=5)


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("", []),
        ("triton:8001", ["triton:8001"]),
        ("10.0.0.7:8001,triton-1.triton:8001", ["10.0.0.7:8001", "triton-1.triton:8001"]),
        ("[::1]:8001,[fe80::1%eth0]:8001", ["[::1]:8001", "[fe80::1%eth0]:8001"]),
    ],
)
def test_tritons_are_named_by_host_and_port(urls: str, expected: list[str]) -> None:
    assert small_windows(triton_url=urls).triton_urls == expected


@pytest.mark.parametrize(
    "urls", ["triton", "http://triton:8001", "::1:8001", "triton:8001, other:8001", ",", "[::1]"]
)
def test_what_names_no_triton_is_refused_with_examples(urls: str) -> None:
    with pytest.raises(ValidationError, match=r"as triton:8001, 10\.0\.0\.7:8001 or \[::1\]:8001"):
        small_windows(triton_url=urls)


TOML = 'max_streams = 9\nmax_steps = 20\nwindow_ladder = [9, 17]\nprompt = "mine"\ntarget_fps = 15'
IN_YAML = "max_streams: 9\nmax_steps: 20\nwindow_ladder: [9, 17]\nprompt: mine\ntarget_fps: 15\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [("gateway.toml", TOML), ("gateway.yaml", IN_YAML), ("gateway.yml", IN_YAML)],
)
def test_a_file_states_settings_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    monkeypatch.setenv("ECHOMIMIC_CONFIG", str(file))
    monkeypatch.setenv("ECHOMIMIC_MAX_STEPS", "30")
    monkeypatch.setenv("STYLE_PROMPT", "natural")
    settings = Settings.model_validate({})
    assert (settings.max_streams, settings.max_steps) == (9, 30)
    assert (settings.window_ladder, settings.prompt) == ((9, 17), "mine")
    assert settings.frame_rate == 15


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("gateway.toml", "most_streams = 9", "most_streams"),
        ("gateway.toml", "max_streams", "TOML"),
        ("gateway.yaml", "most_streams: 9", "most_streams"),
        ("gateway.yaml", "max_streams: [", "YAML"),
        ("gateway.yaml", "max_streams", "states no settings"),
        ("gateway.yaml", "8: 9", "states no settings"),
        ("gateway.yaml", "max_connection_age_s: 3000000", "max_connection_age_s"),
        ("gateway.yaml", "!!python/object/apply:os.getcwd []", "YAML"),
    ],
)
def test_a_file_that_states_what_is_no_setting_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, problem: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert commands.COMMANDS["config"]([f"--config={file}"]) == 2
    assert problem in capsys.readouterr().err


def test_what_is_in_force_is_printed_with_where_it_comes_from_as_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("max_steps = 20")
    monkeypatch.setenv("STYLE_CFG", "2.5")
    monkeypatch.setenv("ECHOMIMIC_TARGET_FPS", "29.97")
    words = [f"--config={file}", "--max-streams", "9", "--no-kserve"]
    assert commands.COMMANDS["config"](words) == 0
    printed = capsys.readouterr().out
    for line in (
        f"max_steps = 20  # {file}",
        "style_cfg = 2.5  # STYLE_CFG",
        'target_fps = "29.97"  # ECHOMIMIC_TARGET_FPS',
        "max_streams = 9  # --max-streams",
        "kserve = false  # --no-kserve",
        "port = 50051  # default",
    ):
        assert line in printed.splitlines()
    file.write_text(printed)
    monkeypatch.delenv("STYLE_CFG")
    assert commands.COMMANDS["config"]([f"--config={file}"]) == 0
    again = capsys.readouterr().out
    assert [line.partition("  # ")[0] for line in again.splitlines()][1:] == [
        line.partition("  # ")[0] for line in printed.splitlines()
    ][1:]


def test_a_new_key_is_let_in_by_the_entry_that_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.COMMANDS["new-key"](["contact-centre"]) == 0
    printed = capsys.readouterr()
    file = tmp_path / "keys.toml"
    file.write_text(printed.out)
    key = printed.err.rpartition(": ")[2].strip()
    known = Keys(file).caller(key)
    assert known is not None
    assert known.name == "contact-centre"
    assert key not in printed.out
    assert commands.COMMANDS["new-key"](["two words"]) == 2
