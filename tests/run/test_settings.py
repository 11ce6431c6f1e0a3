"""The settings file: what it accepts, and the sentence for what it does not."""

from pathlib import Path

import pytest
import yaml

from actors.limits import HostLimits
from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from cluster.run import settings
from realtime.limits import EdgeLimits
from serve_apps.contracts import RECOMMENDER_APPLICATION

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "ray_config.yaml"
        path.write_text(text)
        return path

    return write


def refused(path: Path | None, overrides: dict[str, object] | None = None) -> str:
    with pytest.raises(FlowError) as caught:
        settings.load(path, overrides)
    assert caught.value.kind is SETTINGS_INVALID
    return caught.value.message


def test_without_a_file_every_default_is_the_packages_own() -> None:
    flow = settings.load(None).flow
    assert flow.actors == HostLimits()
    assert flow.edge == EdgeLimits()
    assert flow.is_development


def test_a_file_changes_what_it_names_and_nothing_else(written) -> None:
    flow = settings.load(
        written("flow:\n  hosts: 3\n  actors:\n    max_active: 7\n    rooms: {page_messages: 9}\n")
    ).flow
    assert (flow.hosts, flow.actors.max_active, flow.actors.rooms.page_messages) == (3, 7, 9)
    assert flow.actors.rooms.max_text_bytes == HostLimits().rooms.max_text_bytes
    assert flow.edges == 1


def test_the_command_line_wins_over_the_file(written) -> None:
    path = written("flow:\n  port: 1\n  ray: {num_cpus: 2}\n")
    flow = settings.load(path, {"port": 2, "ray.dashboard": True}).flow
    assert (flow.port, flow.ray.num_cpus, flow.ray.dashboard) == (2, 2, True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("flow: {prot: 3}", "flow.prot in ray_config.yaml is not a setting. Did you mean flow.port?"),
        ("flow: {edge: {max_socket: 3}}", "Did you mean flow.edge.max_sockets?"),
        ("flow: {actors: {rooms: {page_mesages: 3}}}", "Did you mean flow.actors.rooms.page_messages?"),
        ("flow: {hosts: 0}", "flow.hosts in ray_config.yaml is 0: it should be greater than or equal to 1."),
        ("flow: {hosts: many}", "flow.hosts in ray_config.yaml is 'many'"),
        ("flow: {environment: prod}", "should be 'development' or 'production'"),
        ("flow: {edge: {max_keys: 0}}", "max_keys must be greater than 0, not 0"),
        ("flow: {edge: {state_recovery: sometimes}}", "flow.edge.state_recovery"),
        ("flow: {sockets: {max_sockets: 0}}", "max_sockets must be at least 1"),
        ("flow: {storage: {uri: 'mongodb://u:secret@h'}}", "flow.storage.uri in ray_config.yaml is a secret"),
        ("flow: {link: {ping_timeout_s: 0.5}}", "flow.link.ping_timeout_s is 0.5"),
        ("flow: {port: 8265, ray: {dashboard: true}}", "flow.port and flow.ray.dashboard_port are both 8265"),
        ("flow: [1]", "must be a mapping"),
        ("aplications: []", "aplications in ray_config.yaml is not a setting"),
        ("- 1", "must hold a mapping"),
        (":\n -", "is not valid YAML"),
    ],
)
def test_what_cannot_be_used_is_refused_with_key_and_advice(written, text: str, sentence: str) -> None:
    message = refused(written(text))
    assert sentence in message
    assert "secret@h" not in message


def test_several_faults_are_counted(written) -> None:
    assert "2 more faults" in refused(written("flow: {hosts: 0, edges: 0, port: -1}"))


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match="does not exist"):
        settings.find_file(tmp_path / "nothing.yaml")


def test_the_file_that_ships_is_valid_and_says_the_defaults() -> None:
    shipped = settings.load(REPOSITORY / settings.DEFAULT_FILE)
    assert shipped.flow == settings.load(None).flow
    assert [one["name"] for one in shipped.serve["applications"]] == [RECOMMENDER_APPLICATION]


def test_no_setting_is_a_secret() -> None:
    document = yaml.safe_load(settings.load(None).flow.model_dump_json())
    assert document["storage"]["uri"] == ""
    assert document["storage"]["redis_url"] is None
