import contextlib
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import configs
from phpipam_scan_agent import config
from phpipam_scan_agent.config import ROOT_KEY, Config
from phpipam_scan_agent.errors import ConfigError

SECRET = "s3cret-value"
SECRET_KEYS = ("auth_token", "client_token", "scanagent_code")


def load(folder: Path, content: str | bytes) -> Config:
    return config.load(configs.write(folder, content))


def problems(folder: Path, content: str | bytes) -> list[str]:
    """The lines of the error about this content, each without the file's name at its start."""
    with pytest.raises(ConfigError) as refused:
        load(folder, content)
    assert refused.value.exit_code == 2
    lines = str(refused.value).splitlines()
    prefix = f"{folder / 'scan_agent.yaml'}: "
    assert [line for line in lines if not line.startswith(prefix)] == []
    return [line.removeprefix(prefix) for line in lines]


def problem(folder: Path, content: str | bytes) -> str:
    said = problems(folder, content)
    assert len(said) == 1, said
    return said[0]


# Valid configurations


def test_the_mandatory_settings_suffice_and_the_others_have_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, configs.text())
    assert loaded.api_url == "https://phpipam.example"
    assert loaded.client_name == "agent1"
    assert loaded.client_token.get_secret_value() == configs.APP_CODE
    assert loaded.scanagent_code.get_secret_value() == configs.AGENT_CODE
    assert loaded.http_port == 5000
    assert loaded.http_server == "http://127.0.0.1"
    assert loaded.auth_token is None
    assert loaded.cache_expire_time == 1800
    assert loaded.epoch_time_offset == 0


def test_every_setting_is_read(tmp_path: Path) -> None:
    content = configs.text(
        http_port="443",
        http_server="https://server.example",
        auth_token=SECRET,
        cache_expire_time="0",
        epoch_time_offset="-3600",
    )
    loaded = load(tmp_path, content)
    assert loaded.http_port == 443
    assert loaded.http_server == "https://server.example"
    assert loaded.auth_token is not None
    assert loaded.auth_token.get_secret_value() == SECRET
    assert loaded.cache_expire_time == 0
    assert loaded.epoch_time_offset == -3600


@pytest.mark.parametrize("empty", ["", "~", "null"])
def test_an_optional_setting_left_empty_has_its_default(empty: str, tmp_path: Path) -> None:
    content = configs.text(auth_token=empty, http_port=empty, http_server=empty, cache_expire_time=empty)
    loaded = load(tmp_path, content)
    assert (loaded.auth_token, loaded.http_port) == (None, 5000)
    assert (loaded.http_server, loaded.cache_expire_time) == ("http://127.0.0.1", 1800)


@pytest.mark.parametrize(
    "typed", ["0123", "1e5", "0o17", "0x1F", "12_345", "007.50", "yes", "2026-11-24", "1:20"]
)
def test_values_that_yaml_reads_as_other_types_stay_text(typed: str, tmp_path: Path) -> None:
    content = configs.text(client_token=typed, client_name=typed, scanagent_code=typed)
    loaded = load(tmp_path, content)
    assert loaded.client_token.get_secret_value() == typed
    assert loaded.client_name == typed
    assert loaded.scanagent_code.get_secret_value() == typed


@pytest.mark.parametrize("written", ["https://h", "https://h/", "https://h//"])
def test_a_slash_at_the_end_of_api_url_makes_no_difference(written: str, tmp_path: Path) -> None:
    assert load(tmp_path, configs.text(api_url=written)).api_url == "https://h"


@pytest.mark.parametrize(
    "url", ["https://h/phpipam", "https://h:8080", "https://192.0.2.1", "https://[2001:db8::1]:443/ipam"]
)
def test_a_url_with_protocol_works(url: str, tmp_path: Path) -> None:
    assert load(tmp_path, configs.text(api_url=url)).api_url == url


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_encoding_of_yaml_is_read(coding: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, configs.text(client_name="büro").encode(coding))
    assert loaded.client_name == "büro"


def test_root_keys_of_other_programs_are_ignored(tmp_path: Path) -> None:
    loaded = load(tmp_path, "nofusscomputing_phpipam_scan_server:\n  http_port: 1\n" + configs.text())
    assert loaded.http_port == 5000


def test_anchors_work(tmp_path: Path) -> None:
    content = configs.text(client_token=f"&same {SECRET}", scanagent_code="*same")
    assert load(tmp_path, content).scanagent_code.get_secret_value() == SECRET


def test_yaml_tags_create_no_objects(tmp_path: Path) -> None:
    made = tmp_path / "made-by-a-tag"
    content = configs.text(client_name=f"!!python/object/apply:os.mkdir [{made}]")
    assert problem(tmp_path, content) == "client_name: has several values; it takes one"
    assert not made.exists()
    assert load(tmp_path, configs.text(client_name="!!python/name:os.mkdir agent1")).client_name == "agent1"


# The file


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.yaml"
    with pytest.raises(ConfigError) as refused:
        config.load(path)
    assert str(refused.value) == f"{path}: cannot be read: No such file or directory"


def test_a_folder_instead_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        config.load(tmp_path)
    assert str(refused.value) == f"{tmp_path}: cannot be read: Is a directory"


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = configs.write(tmp_path, configs.text())
    path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root could read it
        with pytest.raises(ConfigError) as refused:
            config.load(path)
    finally:
        os.seteuid(user)
    assert str(refused.value) == f"{path}: cannot be read: Permission denied"


# YAML


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (f"client_token: '{SECRET}", "line 8, column 17: found unexpected end of stream"),
        (f"client_token: a: {SECRET}", "line 8, column 18: mapping values are not allowed here"),
        (f"client_token: *{SECRET}", "line 8, column 17: found undefined alias"),
        (f"client_token: !{SECRET}!x y", "line 8, column 17: found undefined tag handle"),
        (f"client_token: @{SECRET}", "line 8, column 17: found character '@' that cannot start any token"),
        (f"client_token: %{SECRET}", "line 8, column 17: found character '%' that cannot start any token"),
        (f'client_token: "\\q{SECRET}"', "line 8, column 17: found unknown escape character 'q'"),
        (f"client_token: {{{SECRET}", "line 9, column 1: expected ',' or '}', but got '<stream end>'"),
        (f"client_token: [{SECRET}", "line 9, column 1: expected ',' or ']', but got '<stream end>'"),
        (f"client_token:{SECRET}", "line "),
        (f" client_token: {SECRET}", "line 8"),
        (f"\tclient_token: {SECRET}", "line 8, column 3: found a tab that cannot start any token"),
        (f"client_token: \t{SECRET}", "line 8, column 17: found a tab that cannot start any token"),
    ],
)
def test_a_yaml_error_names_the_line_and_no_value(wrong: str, where: str, tmp_path: Path) -> None:
    content = configs.text(client_token=None, http_port="5000", cache_expire_time="1", epoch_time_offset="2")
    said = problem(tmp_path, f"{content}  {wrong}\n")
    assert said.startswith(where)
    assert SECRET not in said


HEAD = f"{ROOT_KEY}:\n"


@pytest.mark.parametrize(
    ("content", "where", "advice"),
    [
        (
            f"{HEAD}  api_url: h\n    http_port: 1\n",
            "line 3, column 14",
            "indent it as the settings around it",
        ),
        (
            f"{HEAD}  api_url: h\n http_port: 1\n",
            "line 3, column 2",
            "indent all settings by the same number of",
        ),
        (
            f"{HEAD}    api_url: h\n  http_port: 1\n",
            "line 3, column 3",
            "indent all settings by the same number of",
        ),
        (f"{HEAD}  api_url: h\n  - http_port: 1\n", "line 3, column 3", "without a dash"),
        (f"{HEAD}\tapi_url: h\n", "line 2, column 1", "use spaces instead of the tab"),
        (f"{HEAD}  api_url https://h\n  http_port: 1\n", "line 3, column 12", "after the key in line 2"),
        (f"{HEAD}  api_url:h\n\n  http_port: 1\n", "line 4, column 12", "after the key in line 2"),
        (
            f"{HEAD}  a: b\n  api_url h\n",
            "line 3, column 3",
            "write a colon and a blank between key and value",
        ),
        (
            f"{HEAD}  a: b\n  api_url:h\n  c: d\n",
            "line 3, column 3",
            "a colon and a blank between key and value",
        ),
        (f"{ROOT_KEY}\n  a: b\n", "line 2, column 4", "write a colon and a blank after the key in line 1"),
        (f"{HEAD}  api_url: a: b\n", "line 2, column 13", "put special values in quotes"),
        (f"{HEAD}  api_url: @h\n", "line 2, column 12", "put special values in quotes"),
    ],
)
def test_a_yaml_error_comes_with_advice(content: str, where: str, advice: str, tmp_path: Path) -> None:
    said = problem(tmp_path, content)
    assert said.startswith(f"{where}: ")
    assert advice in said.partition("; ")[2]


@pytest.mark.parametrize("content", [b"\xc3\x28: x", b"\xff\xfe\x00", b"\xffapi_url: https://h"])
def test_bytes_that_are_not_text_are_refused(content: bytes, tmp_path: Path) -> None:
    assert problem(tmp_path, content) == "is not YAML text in UTF-8; write it again with an editor"


@pytest.mark.parametrize(("typed", "named"), [("\0", "0x00"), ("\x01", "0x01"), ("\x1b[2J", "0x1b")])
def test_a_raw_control_character_is_named_with_its_line(typed: str, named: str, tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text(client_token=f"{SECRET}{typed}{SECRET}"))
    assert said == f"line 3: has the control character {named}; remove it"


@pytest.mark.parametrize("content", ["[" * 5000, "{a: " * 5000, "- " * 5000, f"{ROOT_KEY}: " + "[" * 5000])
def test_deep_yaml_is_refused(content: str, tmp_path: Path) -> None:
    assert problem(tmp_path, content)


def test_a_recursive_value_is_refused(tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text(api_url="&a [*a]"))
    assert "line 2" in said


LAUGHING = """
import resource, sys
from pathlib import Path
from phpipam_scan_agent import config
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    config.load(Path(sys.argv[1]))
except config.ConfigError as refused:
    print(refused)
"""


def test_nested_aliases_do_not_exhaust_memory(tmp_path: Path) -> None:
    """A few hundred bytes that stand for a billion values, read in a process with a GiB of memory."""
    lines = ["nofusscomputing_a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"nofusscomputing_a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    path = configs.write(tmp_path, "\n".join(lines) + "\n" + configs.text(http_port="*a9"))
    done = subprocess.run([sys.executable, "-c", LAUGHING, path], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{path}: http_port: has several values; it takes one\n", "")


def test_a_second_document_is_refused(tmp_path: Path) -> None:
    assert "line 6, column 1" in problem(tmp_path, configs.text() + "---\na: b\n")


def test_a_duplicate_key_is_named_with_its_second_line(tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text() + f"  client_token: {SECRET}\n")
    assert said == "line 6, column 3: client_token occurs twice; keep one"
    said = problem(tmp_path, configs.text() + configs.text())
    assert said == f"line 6, column 1: {ROOT_KEY} occurs twice; keep one"


# The root key


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "just text", "- a\n", "api_url: https://h\n"])
def test_a_missing_root_key_is_named(content: str, tmp_path: Path) -> None:
    said = problem(tmp_path, content)
    assert said == f"has no {ROOT_KEY}: at its top; every setting belongs below that key"


@pytest.mark.parametrize("content", [f"{ROOT_KEY}: x", f"{ROOT_KEY}: [a]", f"{ROOT_KEY}:\n  - api_url: h"])
def test_a_root_key_that_holds_no_settings_is_refused(content: str, tmp_path: Path) -> None:
    assert problem(tmp_path, content) == f"{ROOT_KEY}: must hold settings, one `key: value` a line"


def test_a_key_beside_the_root_key_is_named_with_its_right_place(tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text() + "http_port: 5000\n")
    assert said == f"http_port: belongs below {ROOT_KEY}; indent it"


# The settings


@pytest.mark.parametrize("key", configs.MANDATORY)
def test_a_missing_or_empty_mandatory_setting_is_named(key: str, tmp_path: Path) -> None:
    for empty in (None, "", "~", "null", '""', "''"):
        said = problem(tmp_path, configs.text(**{key: empty}))
        assert said.startswith(f"{key}: missing or empty; set it to "), empty


def test_a_missing_secret_is_named_with_its_place_in_phpipam(tmp_path: Path) -> None:
    said = problems(tmp_path, f"{ROOT_KEY}:")
    assert said == [
        "api_url: missing or empty; set it to phpIPAM's URL, which begins with https://",
        "client_token: missing or empty; set it to App code, in phpIPAM: Administration → API → edit",
        "client_name: missing or empty; set it to App id, in phpIPAM: Administration → API → edit",
        "scanagent_code: missing or empty; set it to Code, in phpIPAM: Administration → Scan agents → edit",
    ]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("http_port", "0", "a whole number from 1 to 65535, not '0'"),
        ("http_port", "65536", "a whole number from 1 to 65535, not '65536'"),
        ("http_port", "https", "a whole number from 1 to 65535, not 'https'"),
        ("http_port", "1e5", "a whole number from 1 to 65535, not '1e5'"),
        ("max_rate", "fast", "a whole number from 1 to 1000000, not 'fast'"),
        ("scan_timeout", "15 min", "a whole number from 1 to 1000000, not '15 min'"),
        ("scan_timeout", "9999999", "a whole number from 1 to 1000000, not '9999999'"),
        ("spool_max_size", "100M", "a whole number of at least 0, not '100M'"),
        ("cache_expire_time", "-1", "a whole number from 0 to 1000000000, not '-1'"),
        ("epoch_time_offset", "1.5", "a whole number from -1000000000 to 1000000000, not '1.5'"),
        ("epoch_time_offset", "999999999999", "from -1000000000 to 1000000000, not '999999999999'"),
        ("ipv6", "maybe", "true or false, not 'maybe'"),
        ("names", "sometimes", "'missing', 'always' or 'never', not 'sometimes'"),
        ("name_form", "FULL", "'short' or 'full', not 'FULL'"),
    ],
)
def test_a_wrong_type_or_range_is_named_with_the_value(
    key: str, value: str, said: str, tmp_path: Path
) -> None:
    line = problem(tmp_path, configs.text(**{key: value}))
    assert line.startswith(f"{key}: must be ")
    assert line.endswith(said)


@pytest.mark.parametrize("value", ["9" * 5000, "9" * 400])
@pytest.mark.parametrize("key", ["http_port", "epoch_time_offset", "cache_expire_time"])
def test_a_number_of_too_many_digits_is_named_by_its_line(key: str, value: str, tmp_path: Path) -> None:
    line = problem(tmp_path, configs.text(**{key: value}))
    assert re.fullmatch(rf"{key} \(line 6\): must be a whole number from [-0-9]+ to [0-9]+", line)


@pytest.mark.parametrize("value", ["[5000]", "[]", "{a: b}", "{}", f"[{SECRET}]"])
@pytest.mark.parametrize("key", Config.model_fields)
def test_a_list_is_refused_as_a_value(key: str, value: str, tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text(**{key: value}))
    assert said == f"{key}: has several values; it takes one"


@pytest.mark.parametrize("typed", ['"null"', "'~'", '"Null"'])
def test_a_quoted_null_is_text(typed: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, configs.text(http_server="https://h", auth_token=typed))
    assert loaded.auth_token is not None
    assert loaded.auth_token.get_secret_value() == typed[1:-1]


@pytest.mark.parametrize("value", [f"[{SECRET}]", f"{{a: {SECRET}}}", f'"a\\n{SECRET}"', f'" {SECRET}"'])
@pytest.mark.parametrize("key", ["auth_token", "client_token"])
def test_a_wrong_secret_is_named_without_its_value(key: str, value: str, tmp_path: Path) -> None:
    content = configs.text(**{"http_server": "https://h", key: value})
    said = problem(tmp_path, content)
    assert said.startswith(f"{key}: ")
    assert SECRET not in said


@pytest.mark.parametrize("key", [*SECRET_KEYS, "client_name"])
def test_control_characters_are_refused(key: str, tmp_path: Path) -> None:
    for written in (r"\n", r"\r", r"\t", r"\0", r"\e", r"\x7f", r"\x9b", r"\u2028", r"\u2029", r"\ud800"):
        content = configs.text(**{"http_server": "https://h", key: f'"a{written}b"'})
        said = problem(tmp_path, content)
        assert said == f"{key}: has control characters or line breaks; write it on one line, in quotes", (
            written
        )


def test_a_token_over_two_lines_is_refused(tmp_path: Path) -> None:
    content = configs.text(client_token=f"|\n    first\n    {SECRET}")
    assert problem(tmp_path, content).startswith("client_token: has control characters or line breaks")


@pytest.mark.parametrize("value", ['"tökén"', '" token"', '"token "', '"тoken"'])
@pytest.mark.parametrize("key", ["auth_token", "client_token"])
def test_a_token_that_is_invalid_in_a_header_is_refused(key: str, value: str, tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text(**{"http_server": "https://h", key: value}))
    expected = "has characters that an HTTP header cannot carry; copy it again, without blanks around"
    assert said == f"{key}: {expected}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("phpipam.example", "has no protocol; write https:// before it"),
        ("phpipam.example:443", "has no protocol; write https:// before it"),
        ("//phpipam.example", "has no protocol; write https:// before it"),
        ("ftp://phpipam.example", "has no protocol; write https:// before it"),
        ("file:///etc/passwd", "has no protocol; write https:// before it"),
        ("https://[::1", "is not a URL; write it like https://ipam.example.org"),
        ("https://", "has no host name"),
        ("https:///path", "has no host name"),
        (
            "https://ipam..example.org",
            "has a host name with a part that is empty or longer than 63 characters",
        ),
        ("https://.example.org", "has a host name with a part that is empty or longer than 63 characters"),
        (f"https://{'a' * 64}.x", "has a host name with a part that is empty or longer than 63 characters"),
        ("https://a b", "has blanks or control characters in it"),
        ('"https://a\\nb"', "has blanks or control characters in it"),
        ("https://h:99999", "has a port that is not a number from 0 to 65535"),
        ("https://h:http", "has a port that is not a number from 0 to 65535"),
        ("https://h/?page=1", "has a query or fragment; leave out the part from '?' or '#' on"),
        ("https://h/#top", "has a query or fragment; leave out the part from '?' or '#' on"),
    ],
)
def test_a_wrong_url_is_refused_with_an_example(url: str, said: str, tmp_path: Path) -> None:
    assert problem(tmp_path, configs.text(api_url=url)) == f"api_url: {said}"
    assert problem(tmp_path, configs.text(http_server=url)) == f"http_server: {said}"


def test_a_password_in_a_url_is_refused_and_not_shown(tmp_path: Path) -> None:
    for key in ("api_url", "http_server"):
        said = problem(tmp_path, configs.text(**{key: f"https://admin:{SECRET}@h"}))
        assert said == f"{key}: has a user name or password in it; leave them out, they are not used"


@pytest.mark.parametrize("key", ["api_url", "http_server"])
def test_a_password_in_a_url_that_changes_in_unicode_normalization_is_not_shown(
    key: str, tmp_path: Path
) -> None:
    """℀ is normalised to a/c, which would change the host; Python's error about such a URL contains it."""
    said = problem(tmp_path, configs.text(**{key: f"https://user:{SECRET}\u2100@h"}))
    assert said == f"{key}: is not a URL; write it like https://ipam.example.org"


def test_a_port_in_http_server_is_refused(tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text(http_server="http://127.0.0.1:5000"))
    assert said == "http_server: has a port in it; leave it out and set http_port"


def test_a_path_in_http_server_is_refused(tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text(http_server="http://127.0.0.1/endpoint"))
    assert said == "http_server: has a path; the Scan Server listens at /, leave the path out"


@pytest.mark.parametrize("server", [None, "http://127.0.0.1", "http://localhost", "HTTP://server.example"])
def test_a_server_token_over_http_is_refused(server: str | None, tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text(auth_token=SECRET, http_server=server))
    why = "http_server does not begin with https://; a token is sent over https only"
    assert said == f"auth_token: is set, but {why}"


def test_phpipam_over_http_is_refused(tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text(api_url="HTTP://phpipam.example"))
    assert said == "api_url: begins with http://; use https, since the App code is sent with each request"


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("api_uri", "api_url"),
        ("http_prot", "http_port"),
        ("auth-token", "auth_token"),
        ("client_tokn", "client_token"),
        ("scan_agent_code", "scanagent_code"),
        ("epoch_offset", "epoch_time_offset"),
        ("cache_expire", "cache_expire_time"),
    ],
)
def test_the_nearest_known_key_is_suggested_for_an_unknown_key(typed: str, near: str, tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text() + f"  {typed}: {SECRET}\n")
    assert said == f"{typed}: unknown key; did you mean {near}?"


@pytest.mark.parametrize("empty", ["", " ~", ' ""', " []"])
def test_an_unknown_key_without_a_value_is_named(empty: str, tmp_path: Path) -> None:
    said = problem(tmp_path, configs.text() + f"  auth_tokn:{empty}\n")
    assert said == "auth_tokn: unknown key; did you mean auth_token?"


def test_yaml_merge_keys_are_unknown_keys(tmp_path: Path) -> None:
    """A merge must not be ignored without a message."""
    assert problem(tmp_path, configs.text() + "  <<: {http_port: 1}\n").startswith("<<: unknown key")


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    content = (
        f"http_port: 1\n{ROOT_KEY}:\n  api_url: phpipam.example\n  http_port: 70000\n  auth_token: {SECRET}\n"
        f"  client_name: [a]\n  client_token: {SECRET}ü\n  scan_code: {SECRET}\n  cache_expire_time: -1\n"
    )
    said = problems(tmp_path, content)
    assert sorted(line.partition(":")[0] for line in said) == sorted(
        [
            "http_port",
            "api_url",
            "http_port",
            "auth_token",
            "client_name",
            "client_token",
            "scan_code",
            "cache_expire_time",
            "scanagent_code",
        ]
    )
    assert SECRET not in "".join(said)


# Secrets


TOKEN = "Zk3_vX9-qLm2RtYw7BnPe4HsUc6JdGa1"


@pytest.mark.parametrize(
    "key", sorted(set(Config.model_fields) - {"client_token", "auth_token", "scanagent_code", "client_name"})
)
def test_a_token_in_another_setting_is_not_shown(key: str, tmp_path: Path) -> None:
    for value in (TOKEN, TOKEN[:15], f"/{TOKEN}/x", f"{TOKEN}=="):
        content = configs.text(**{"auth_token": value, "http_server": "https://h"} | {key: value})
        with pytest.raises(ConfigError) as refused:
            load(tmp_path, content)
        assert f": {key}" in str(refused.value), value
        assert value not in str(refused.value)


def test_a_token_in_another_setting_is_named_by_its_line(tmp_path: Path) -> None:
    said = problems(tmp_path, configs.text(max_rate=TOKEN, ca_file=TOKEN, client_cert=TOKEN))
    assert said == [
        "max_rate (line 6): must be a whole number from 1 to 1000000",
        "ca_file (line 7): the file cannot be read: No such file or directory",
        "client_cert (line 8): the file cannot be read: No such file or directory",
    ]
    assert problem(tmp_path, configs.text(client_token=None, client_token_file=TOKEN)) == (
        "client_token_file (line 5): the file cannot be read: No such file or directory"
    )


@pytest.mark.parametrize(
    "place", ["  {}: x", "{}: x", "  {}: x\n  {}: y", "  {}", "  ? {}", "  &{}", "  *{}"]
)
@pytest.mark.parametrize("typed", [TOKEN, SECRET])
def test_a_token_as_a_key_is_not_shown(place: str, typed: str, tmp_path: Path) -> None:
    content = configs.text(client_token=typed) + place.format(typed, typed) + "\n"
    assert typed not in problem(tmp_path, content)


@pytest.mark.parametrize("typed", ["cache_expire_times", "client_token_flie", "scanagent_code_files"])
def test_a_long_key_similar_to_a_known_key_is_shown(typed: str, tmp_path: Path) -> None:
    assert problem(tmp_path, configs.text() + f"  {typed}: x\n").startswith(
        f"{typed}: unknown key; did you mean "
    )


def test_a_path_is_shown_if_its_folder_exists(tmp_path: Path) -> None:
    path = tmp_path / "an-authority-with-a-long-name.pem"
    said = problem(tmp_path, configs.text(ca_file=str(path)))
    assert said == f"ca_file: {path} cannot be read: No such file or directory"


@pytest.mark.parametrize("key", ["ca_file", "client_cert", "client_token_file", "metrics_file"])
def test_a_nul_character_in_a_path_is_refused(key: str, tmp_path: Path) -> None:
    assert all(line.startswith(key) for line in problems(tmp_path, configs.text(**{key: '"a\\0b"'}))[-1:])


@pytest.mark.parametrize("key", ["ca_file", "client_cert", "client_token_file"])
def test_a_fifo_is_refused_without_waiting(key: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    content = configs.text(**{"client_token": None if "token" in key else configs.APP_CODE, key: "fifo"})
    assert problem(tmp_path, content) == f"{key}: {tmp_path}/fifo cannot be read: it is not a regular file"


def test_under_systemd_messages_name_the_file_and_not_the_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path = configs.write(
        tmp_path, configs.text(client_token=None, client_token_file="client_token", ca_file="ca")
    )
    with pytest.raises(ConfigError) as refused:
        config.load(path)
    here = "/etc/phpipam/scan_agent.yaml"
    assert str(refused.value).splitlines() == [
        f"{here}: client_token_file: /etc/phpipam/client_token cannot be read: No such file or directory",
        f"{here}: ca_file: /etc/phpipam/ca cannot be read: No such file or directory",
    ]


def test_an_endless_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: has more than 1,048,576 bytes"):
        config.load(Path("/dev/zero"))


def test_secrets_lists_every_secret_value(tmp_path: Path) -> None:
    loaded = load(tmp_path, configs.text(http_server="https://h", auth_token=SECRET))
    assert sorted(loaded.secrets) == sorted((SECRET, configs.APP_CODE, configs.AGENT_CODE))
    for shown in (repr(loaded), str(loaded), loaded.model_dump_json()):
        assert [secret for secret in loaded.secrets if secret in shown] == []


def test_an_app_code_in_client_name_is_a_secret(tmp_path: Path) -> None:
    """Each URL of phpIPAM's API contains client_name."""
    assert TOKEN in load(tmp_path, configs.text(client_name=TOKEN)).secrets
    assert (
        load(tmp_path, configs.text(client_name="branch-office-berlin")).secrets
        == load(tmp_path, configs.text()).secrets
    )


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_traceback_of_a_wrong_setting_shows_no_secret(key: str, tmp_path: Path) -> None:
    content = configs.text(**{"http_server": "https://h", key: f"[{SECRET}]"})
    try:
        load(tmp_path, content)
    except ConfigError:
        shown = traceback.format_exc()
    assert f"{key}: " in shown
    assert SECRET not in shown


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=200) | st.text(alphabet="ab: -\n\t{}[]&*!'\"#|>%@,?~\\", max_size=60))
def test_any_file_is_a_configuration_or_a_configuration_error(content: bytes | str, tmp_path: Path) -> None:
    rest = content if isinstance(content, bytes) else f"{configs.text()}  {content}".encode()
    with contextlib.suppress(ConfigError):
        load(tmp_path, rest)
