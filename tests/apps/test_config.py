"""The configuration: defaults, sources, every kind of mistake, and what is derived from it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from paxos.apps import config, layout
from paxos.apps.config_keys import ALIASES, KEYS, OTHER_VARIABLES, SECTIONS, example
from paxos.core.errors import ConfigurationError
from paxos.core.settings import Limits, Settings, Timeouts
from paxos.core.types import NodeId, Role

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "cluster.toml"
    file.write_text(text, encoding="utf-8")
    return file


def mistakes(file: Path | None = None, **environment: str) -> list[str]:
    """Load what must not load; return the lines of the error."""
    with pytest.raises(ConfigurationError) as caught:
        config.load(file, environment)
    return str(caught.value).splitlines()


def test_defaults_are_the_documented_cluster(tmp_path: Path) -> None:
    loaded = config.load()
    assert loaded.nodes() == (
        *("discovery", "proposer-1", "proposer-2", "proposer-3"),
        *("acceptor-1", "acceptor-2", "acceptor-3"),
        *("learner-1", "learner-2", "client-1", "client-2"),
    )
    assert [loaded.page_port(node) for node in loaded.nodes()] == list(range(8000, 8011))
    assert [loaded.address(node) for node in loaded.nodes()] == [
        ("127.0.0.1", 17_000 + index) for index in range(11)
    ]
    assert loaded.door_port(NodeId("client-1")) == 6001
    assert loaded.door_port(NodeId("client-2")) == 6002
    assert loaded.data_folder == tmp_path / "data"
    assert loaded.volume(NodeId("acceptor-2")) == tmp_path / "data" / "acceptor-2"
    assert loaded.security.secret_file == tmp_path / "data" / "cluster.secret"
    assert loaded.security.secret_is_ours
    assert loaded.security.password is None
    assert loaded.settings() == Settings()
    assert loaded.connections_max == 10_000
    assert loaded.doors.resp
    assert loaded.source is None
    assert loaded.warnings == ()


def test_a_variable_that_means_nothing_is_refused() -> None:
    assert mistakes(PAXOS_CLUSTR_ACCEPTORS="5", PAXOS_NETWORKPORT="1", PAXOS_XYZ="") == [
        'PAXOS_CLUSTR_ACCEPTORS: no such key; did you mean "PAXOS_CLUSTER_ACCEPTORS"?',
        'PAXOS_NETWORKPORT: no such key; did you mean "PAXOS_NETWORK_HOST"?',
        "PAXOS_XYZ: no such key; paxos.example.toml has them all",
    ]


def test_every_variable_of_scripts_and_stack_is_known() -> None:
    used: set[str] = set()
    for pattern in ("*.sh", "scripts/*.sh", "deploy/*", ".ci/*", "tests/system/swarm/*.sh"):
        for file in ROOT.glob(pattern):
            if file.is_file():
                used |= set(re.findall(r"PAXOS_[A-Z_]*[A-Z]", file.read_text(encoding="utf-8")))
    assert {"PAXOS_IMAGE", "PAXOS_DATA"} <= used
    assert used <= {key.variable for key in KEYS} | {*ALIASES, *OTHER_VARIABLES}


def test_every_field_of_the_role_settings_is_a_key() -> None:
    names = {key.path for key in KEYS}
    for section, kind in (("timeouts", Timeouts), ("limits", Limits)):
        for field in msgspec.structs.fields(kind):
            assert f"{section}.{field.name}" in names


def test_example_file_holds_every_key_with_its_default() -> None:
    text = (ROOT / "paxos.example.toml").read_text(encoding="utf-8")
    assert text == example(), "make it anew: paxos config --example > paxos.example.toml"
    content = tomllib.loads(text)
    assert tuple(content) == SECTIONS
    for key in KEYS:
        if key.default is None:
            assert f"# {key.name} = " in text
        else:
            assert content[key.section][key.name] == key.default


def test_example_file_loads_to_the_defaults(tmp_path: Path) -> None:
    file = written(tmp_path, example())
    loaded = config.load(file)
    assert msgspec.structs.replace(loaded, source=None) == config.load()


def test_environment_overrides_file_and_file_overrides_default(tmp_path: Path) -> None:
    file = written(tmp_path, "[cluster]\nacceptors = 5\nclients = 1\n")
    loaded = config.load(file, {"PAXOS_CLUSTER_CLIENTS": "3", "PAXOS_DOORS_RESP": "no"})
    assert loaded.cluster == config.Cluster(proposers=3, acceptors=5, learners=2, clients=3)
    assert not loaded.doors.resp
    assert loaded.membership().quorum_size == 3


def test_file_is_found_in_the_current_folder_and_by_variable(tmp_path: Path) -> None:
    (tmp_path / "paxos.toml").write_text("[cluster]\nlearners = 4\n", encoding="utf-8")
    other = written(tmp_path, "[cluster]\nlearners = 5\n")
    assert config.load().cluster.learners == 4
    assert config.load(None, {"PAXOS_CONFIG": str(other)}).cluster.learners == 5
    assert config.load(tmp_path / "paxos.toml", {"PAXOS_CONFIG": str(other)}).cluster.learners == 4


def test_short_variables_set_folder_and_secret(tmp_path: Path) -> None:
    loaded = config.load(None, {"PAXOS_DATA": "elsewhere", "PAXOS_SECRET_FILE": "/run/secret"})
    assert loaded.data_folder == tmp_path / "elsewhere"
    assert loaded.security.secret_file == Path("/run/secret")
    assert not loaded.security.secret_is_ours
    assert set(ALIASES.values()) <= {key.path for key in KEYS}


def test_relative_folder_in_a_file_starts_at_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    file = folder / "paxos.toml"
    file.write_text('[data]\nfolder = "./here"\n', encoding="utf-8")
    assert config.load(file).data_folder == folder / "here"
    assert config.load(file, {"PAXOS_DATA": "there"}).data_folder == tmp_path / "there"


def test_port_offset_shifts_every_port() -> None:
    loaded = config.load(None, {"PAXOS_NETWORK_PORT_OFFSET": "100"})
    assert loaded.ports(NodeId("client-2")) == (8110, 17_110, 6102)
    assert loaded.ports(NodeId("discovery")) == (8100, 17_100)


def test_two_clusters_with_different_offsets_share_no_port() -> None:
    def ports(offset: str) -> set[int]:
        loaded = config.load(None, {"PAXOS_NETWORK_PORT_OFFSET": offset})
        return {port for node in loaded.nodes() for port in loaded.ports(node)}

    assert ports("0").isdisjoint(ports("100"))


def test_host_names_the_node_in_a_swarm() -> None:
    loaded = config.load(None, {"PAXOS_NETWORK_HOST": "{node}", "PAXOS_NETWORK_BIND": "0.0.0.0"})
    assert loaded.address(NodeId("acceptor-1")) == ("acceptor-1", 17_004)
    assert loaded.local_host() == "127.0.0.1"


def test_added_nodes_have_the_ports_after_all_others() -> None:
    loaded = config.load(None, {"PAXOS_CLUSTER_ADDED": " learner-7 client-5  acceptor-4 "})
    added = tuple(NodeId(name) for name in ("learner-7", "client-5", "acceptor-4"))
    assert loaded.added == added
    assert loaded.nodes() == (*config.load().nodes(), *added)
    assert [loaded.ports(node) for node in added] == [
        (8011, 17_011),
        (8012, 17_012, 6003),
        (8013, 17_013),
    ]
    assert loaded.membership() == config.load().membership(), "the founding stays what it was"
    assert loaded.of(Role.CLIENT) == ("client-1", "client-2", "client-5")


def test_a_later_life_is_at_its_place(tmp_path: Path) -> None:
    loaded = config.load()
    for life in ("acceptor-2.1", "acceptor-2.14"):
        node = NodeId(life)
        assert loaded.ports(node) == loaded.ports(NodeId("acceptor-2"))
        assert loaded.volume(node) == tmp_path / "data" / "acceptor-2"
        loaded.require(node)
    swarm = config.load(None, {"PAXOS_NETWORK_HOST": "{node}"})
    assert swarm.address(NodeId("acceptor-2.1")) == ("acceptor-2", 17_005)


def test_the_layout_of_the_data_folder_adds_and_removes_nodes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    four, three = NodeId("acceptor-4"), NodeId("acceptor-3")
    layout.write(tmp_path / "data", layout.Layout(added=(four,), removed=(three,)))
    loaded = config.load()
    assert four in loaded.nodes()
    assert three not in loaded.nodes()
    assert loaded.page_port(four) == 8011
    assert loaded.page_port(three) == 8006, "it keeps its ports"
    loaded.require(four)
    with pytest.raises(ConfigurationError, match="has no acceptor-3"):
        loaded.require(three)
    assert loaded.fingerprint() == loaded.with_layout(layout.Layout()).fingerprint(), (
        "the layout is no setting: a cluster that runs is not taken for another"
    )
    both = config.load(None, {"PAXOS_CLUSTER_ADDED": "learner-3 acceptor-4"})
    assert both.added == ("learner-3", "acceptor-4")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"added": ["nobody"]}',
        '{"removed": ["acceptor-4.1"]}',
        '{"lives": {"acceptor-1": "x"}}',
        '{"added": ["discovery"]}',
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "layout.json").write_text(text, encoding="utf-8")
    [mistake] = mistakes()
    assert mistake.startswith(f"{tmp_path / 'data' / 'layout.json'} ")
    assert mistake.endswith("repair it")


def test_the_lives_of_a_layout_only_grow() -> None:
    place = NodeId("acceptor-2")
    known = layout.Layout().in_life(place, 2).in_life(place, 1)
    assert known.lives == {"acceptor-2": 2}
    founding = config.load().nodes()
    gone = known.without_node(place)
    assert gone.without_node(place) == gone
    assert gone.removed == ("acceptor-2",)
    assert gone.with_node(place, founding) == known
    assert known.with_node(NodeId("acceptor-4"), founding).added == ("acceptor-4",)


def test_node_outside_the_cluster_is_refused() -> None:
    loaded = config.load()
    with pytest.raises(ConfigurationError, match="has no acceptor-4; it has discovery"):
        loaded.page_port(NodeId("acceptor-4"))
    with pytest.raises(ConfigurationError, match="learner-1 has no door"):
        loaded.door_port(NodeId("learner-1"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[cluster]\nacceptors = 0", "cluster.acceptors = 0 (cluster.toml): must be a whole number"
         " from 1 to 99, such as 3"),
        ("[cluster]\nacceptors = 100", "cluster.acceptors = 100 (cluster.toml): must be a whole"),
        ("[cluster]\nacceptors = true", "cluster.acceptors = true (cluster.toml): must be a whole"),
        ('[cluster]\nacceptors = "3"', 'cluster.acceptors = "3" (cluster.toml): must be a whole'),
        ("[cluster]\nacceptors = 3.5", 'cluster.acceptors = "3.5" (cluster.toml): must be a whole'),
        ('[cluster]\nadded = "nobody-1"', 'cluster.added = "nobody-1" (cluster.toml): "nobody-1" is'
         " not the name of a node: must be such as acceptor-4"),
        ('[cluster]\nadded = "acceptor-4.1"', 'cluster.added = "acceptor-4.1" (cluster.toml): '
         '"acceptor-4.1" is not the name'),
        ('[cluster]\nadded = "learner-2"', 'cluster.added = "learner-2" (cluster.toml): learner-2'
         " is one of those that the cluster was founded with"),
        ('[cluster]\nadded = "learner-3 learner-3"', 'cluster.added = "learner-3 learner-3" '
         "(cluster.toml): learner-3 stands there twice"),
        ("[cluster]\nadded = 4", 'cluster.added = 4 (cluster.toml): must be names of nodes'
         ' separated by spaces, such as "acceptor-4 learner-3"'),
        ("[cluster]\naceptors = 3", 'cluster.aceptors (cluster.toml): no such key; did you mean'
         ' "acceptors"?'),
        ("[clutser]\nacceptors = 3", '[clutser] (cluster.toml): no such section; did you mean'
         ' "cluster"?'),
        ("cluster = 3", "cluster = 3 (cluster.toml): must be a section, [cluster]"),
        ("[zebra]", "[zebra] (cluster.toml): no such section; the known ones are cluster, network"),
        ("[doors]\nresp = 1", "doors.resp = 1 (cluster.toml): must be true or false, such as true"),
        ('[log]\nlevel = "loud"', 'log.level = "loud" (cluster.toml): must be one of debug, info,'),
        ('[data]\nfolder = ""', 'data.folder = "" (cluster.toml): must be a text that is not empty'
         ', such as "./data"'),
        ('[network]\nhost = "a b"', 'network.host = "a b" (cluster.toml): must be a name or an'),
        ('[network]\nhost = "{nodes}"', 'network.host = "{nodes}" (cluster.toml): must be a name'),
        ('[network]\nbind = "http://x"', 'network.bind = "http://x" (cluster.toml): must be an'),
        ("[network]\npages_port = 65530", "network.pages_port = 65530 (cluster.toml): with "
         "network.port_offset = 0 and 11 nodes the last port would be 65540: must not pass 65535"),
        ("[network]\npages_port = 5999", "network.doors_port = 6001 (default): its ports 6001-6002"
         " overlap those of network.pages_port, 5999-6009: must be apart"),
        ("[timeouts]\nsuspect_ms = 200", "timeouts.suspect_ms = 200 (cluster.toml): must be more"
         " than twice timeouts.heartbeat_ms = 100, such as 350"),
        ("[timeouts]\nrequest_ms = 700", "timeouts.request_ms = 700 (cluster.toml): must be at"
         " least twice timeouts.retry_ms = 400, such as 4000"),
        ("[timeouts]\nsuspect_ms = 9000", "timeouts.request_ms = 5000 (default): must be more than"
         " timeouts.suspect_ms = 9000, so that"),
        ("[limits]\nmessage_bytes_max = 9437184", "limits.message_bytes_max = 9437184"
         " (cluster.toml): must be more than limits.value_bytes_max + limits.batch_bytes_max"),
        ("[limits]\nlink_bytes_max = 50000000", "limits.link_bytes_max = 50000000 (cluster.toml):"
         " must be at least twice limits.message_bytes_max"),
        ("[limits]\nleader_queue_bytes_max = 2000000", "limits.leader_queue_bytes_max = 2000000"
         " (cluster.toml): must be at least twice the larger of"),
        ('[security]\npassword = ""', 'security.password = "" (cluster.toml): must be a text that'),
        ('[security]\npassword_file = "none"', 'security.password_file = "none" (cluster.toml):'
         " must be a text file to read"),
        ("[cluster", "is not TOML"),
    ],
)  # fmt: skip
def test_mistake_in_the_file_is_named_with_value_and_what_would_be_good(
    tmp_path: Path, text: str, expected: str
) -> None:
    lines = mistakes(written(tmp_path, text))
    assert any(expected in line for line in lines), lines


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, '[cluster]\nacceptors = 0\nclient = 2\n[log]\nformat = "xml"\n')
    lines = mistakes(file, PAXOS_TIMEOUTS_SUSPECT_MS="1", PAXOS_CLUSTER_LERNERS="2")
    for path in ("cluster.acceptors", "cluster.client ", "log.format", "timeouts.suspect_ms"):
        assert any(line.startswith(path) for line in lines), (path, lines)
    assert 'PAXOS_CLUSTER_LERNERS: no such key; did you mean "PAXOS_CLUSTER_LEARNERS"?' in lines


@pytest.mark.parametrize("value", ["", "three", "3.0", "1e2", "99999999999999999999999"])
def test_mistake_in_a_variable_names_the_variable(value: str) -> None:
    [line] = mistakes(PAXOS_CLUSTER_ACCEPTORS=value)
    assert line.startswith(f'cluster.acceptors = "{value}" (PAXOS_CLUSTER_ACCEPTORS): must be')


def test_variables_of_others_are_left_alone() -> None:
    assert config.load(None, {"PAXOS_BASE_IMAGE": "x", "PATH": "/bin"}) == config.load()


def test_file_that_is_named_and_missing_is_a_mistake(tmp_path: Path) -> None:
    [line] = mistakes(tmp_path / "none.toml")
    assert line.endswith("none.toml: cannot be read (No such file or directory)")


def test_password_comes_from_a_file_without_its_newline(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("open sesame\n", encoding="utf-8")
    environment = {"PAXOS_SECURITY_PASSWORD_FILE": str(file)}
    assert config.load(None, environment).security.password == "open sesame"
    both = mistakes(PAXOS_SECURITY_PASSWORD="x", **environment)
    assert "must not be set beside security.password" in both[0]
    file.write_text("\n", encoding="utf-8")
    assert "must not be an empty file" in mistakes(**environment)[0]


def test_password_is_not_told_but_changes_the_fingerprint() -> None:
    without = config.load()
    first = config.load(None, {"PAXOS_SECURITY_PASSWORD": "one-password"})
    second = config.load(None, {"PAXOS_SECURITY_PASSWORD": "other-password"})
    assert first.plain()["security"]["password"] == "(set)"
    assert "one-password" not in str(first.plain())
    assert len({one.fingerprint() for one in (without, first, second)}) == 3
    assert without.fingerprint() == config.load().fingerprint()


def test_secret_is_read_and_must_be_long_enough(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    loaded = config.load(None, {"PAXOS_SECRET_FILE": str(file)})
    with pytest.raises(ConfigurationError, match=r"security\.secret_file.*cannot be read"):
        loaded.secret()
    file.write_bytes(b"short\n")
    with pytest.raises(ConfigurationError, match="holds 5 bytes: must be 16 or more"):
        loaded.secret()
    file.write_bytes(b"0123456789abcdef\n")
    assert loaded.secret() == b"0123456789abcdef"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PAXOS_CLUSTER_ACCEPTORS": "4"}, "cluster.acceptors = 4: an even number tolerates"),
        ({"PAXOS_NETWORK_HOST": "{node}"}, 'network.bind = "127.0.0.1" answers this machine'),
        ({"PAXOS_NETWORK_BIND": "0.0.0.0"}, "no security.password is set"),
    ],
)
def test_legal_but_doubtful_settings_are_warned_of(
    environment: dict[str, str], expected: str
) -> None:
    [warning] = config.load(None, environment).warnings
    assert expected in warning
